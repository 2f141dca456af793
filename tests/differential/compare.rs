//! Runs a stream on both servers and finds the first reply that differs where it may not.

use std::time::Duration;

use kvasir_proto::Value;
use kvasir_testing::{Client, NoReply, Server, show};

use crate::generate::Request;
use crate::rules::{Rule, rule_of};

/// The protocol version that a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

/// The two servers that are compared.
pub(crate) struct Pair<'a> {
    pub(crate) ours: &'a Server,
    pub(crate) peer: &'a Server,
    pub(crate) protocol: Protocol,
}

/// A request whose replies differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Its place in the stream.
    pub(crate) at: usize,
    pub(crate) ours: String,
    pub(crate) peer: String,
}

/// A reply with the bytes it came as, or why there is none.
type Answer = Result<(Value, Vec<u8>), NoReply>;

/// How long a reply may take before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

impl Pair<'_> {
    /// Runs a stream on empty servers, so many requests in one write; `note` sees every reply of
    /// ours.
    pub(crate) fn run(
        &self,
        stream: &[Request],
        batch: usize,
        mut note: impl FnMut(usize, &Value),
    ) -> Option<Difference> {
        let mut ours = self.connect(self.ours);
        let mut peer = self.connect(self.peer);
        for (index, requests) in stream.chunks(batch).enumerate() {
            let bytes: Vec<u8> = requests.iter().flat_map(|args| Client::encode(args)).collect();
            ours.send_raw(&bytes);
            peer.send_raw(&bytes);
            for (offset, request) in requests.iter().enumerate() {
                let at = index * batch + offset;
                let (mine, theirs) = (ours.try_read(), peer.try_read());
                if !agree(rule_of(request), &mine, &theirs) {
                    // What is still under way must not meet the next stream's FLUSHALL.
                    for client in [&mut ours, &mut peer] {
                        let left = requests.len() - offset - 1;
                        (0..left).take_while(|_| client.try_read().is_ok()).for_each(drop);
                    }
                    return Some(Difference { at, ours: text(&mine), peer: text(&theirs) });
                }
                match mine {
                    Ok((value, _)) => note(at, &value),
                    Err(_) => return None,
                }
            }
        }
        None
    }

    fn connect(&self, server: &Server) -> Client {
        let mut client = server.client();
        client.set_patience(PATIENCE);
        if self.protocol == Protocol::Resp3 {
            client.run("HELLO 3");
        }
        assert_eq!(show(&client.run("FLUSHALL")), "OK");
        client
    }
}

fn agree(rule: Rule, ours: &Answer, peer: &Answer) -> bool {
    match (ours, peer) {
        (Ok((mine, my_bytes)), Ok((theirs, their_bytes))) => {
            my_bytes == their_bytes || agree_by_rule(rule, mine, theirs)
        }
        // That both keep silent is no agreement: such a command needs a rule.
        (Err(NoReply::Closed), Err(NoReply::Closed)) => true,
        _ => false,
    }
}

fn agree_by_rule(rule: Rule, ours: &Value, peer: &Value) -> bool {
    match (rule, ours, peer) {
        (Rule::Close(slack), Value::Integer(a), Value::Integer(b)) => close(*a, *b, slack),
        (Rule::Close(_), Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree_by_rule(rule, a, b))
        }
        (Rule::Close(_), Value::Map(a), Value::Map(b)) => {
            let agree = |((k, a), (l, b)): (&(Value, Value), &(Value, Value))| {
                k == l && agree_by_rule(rule, a, b)
            };
            a.len() == b.len() && a.iter().zip(b).all(agree)
        }
        (Rule::Close(_), a, b) => a == b,
        (Rule::Moment { slack, far }, Value::Integer(a), Value::Integer(b)) => {
            close(*a, *b, slack) || *a > far && *b > far
        }
        (Rule::Encoding, Value::Bulk(a), Value::Bulk(b)) => a == b"listpack" && b == b"skiplist",
        (Rule::Unordered, a, b) => canonical(a) == canonical(b),
        (Rule::Types, Value::Error(_), Value::Error(_)) => false,
        (Rule::Types, a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        _ => false,
    }
}

fn close(a: i64, b: i64, slack: i64) -> bool {
    // -1 and -2 say that there is no time: they are not close to one.
    a.abs_diff(b) <= slack.unsigned_abs() && (a < 0) == (b < 0)
}

/// The same text for all collections of the same elements, at every depth.
fn canonical(value: &Value) -> String {
    let (kind, mut texts): (char, Vec<String>) = match value {
        Value::Array(elements) => ('*', elements.iter().map(canonical).collect()),
        Value::Set(elements) => ('~', elements.iter().map(canonical).collect()),
        Value::Map(pairs) => {
            let pair = |(key, value): &(Value, Value)| canonical(key) + "=" + &canonical(value);
            ('%', pairs.iter().map(pair).collect())
        }
        other => return show(other),
    };
    texts.sort_unstable();
    format!("{kind}[{}]", texts.join(" "))
}

fn text(answer: &Answer) -> String {
    answer.as_ref().map_or_else(|why| format!("({why:?})"), |(value, _)| show(value))
}
