//! The way of a message from its publisher to the cores of its subscribers.

use kvasir_proto::{Args, Encoder};
use slab::Slab;

use super::Receivers;
use super::message::{Publication, Topic};
use crate::commands::table::Entry;
use crate::route::core::{Core, CoreState};
use crate::route::engine::{ConnectionKey, ShardId};
use crate::route::message::{Control, Done, ReplyTo};

/// What cores tell each other about messages.
#[derive(Debug)]
pub enum Message {
    /// Deliver this, and tell how many got it if somebody wants to know.
    Deliver(Publication, Option<u32>),
    /// So many got what was published under this number.
    Delivered(u32, usize),
}

/// Messages whose publishers wait to be told how many have got them.
#[derive(Debug, Default)]
pub(crate) struct Publishing(Slab<Waiting>);

#[derive(Debug)]
struct Waiting {
    to: ReplyTo,
    resp: kvasir_proto::Resp,
    /// Cores that have not answered.
    cores: usize,
    count: usize,
}

impl Publishing {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Core {
    /// Publishes for a connection, which is told how many subscribers have got it.
    pub(crate) fn publish(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        topic: Topic,
        args: Args<'_>,
    ) {
        let (channel, payload) = (args.at(1), args.at(2));
        let cores = self.state.cores_of(topic, channel);
        if cores.is_empty() {
            return self.reply_published(key, entry, 0, args);
        }
        let me = self.state.id;
        let shards = self.state.shared.map.shards();
        let message = Publication { topic, channel: channel.into(), payload: payload.into() };
        if cores.iter(shards).all(|core| core == me) {
            let delivered = self.state.deliver(&message, Receivers::AllBut(key));
            self.reply_published(key, entry, delivered.count, args);
            if !delivered.own.is_empty() {
                self.state.push_behind_replies(key, &delivered.own);
            }
            return;
        }
        let connection = &mut self.state.connections[key.0 as usize];
        let (client, resp) = (connection.client.id, connection.client.view.resp);
        let to = ReplyTo { connection: key, client, sequence: connection.reserve() };
        let others = || cores.iter(shards).filter(|core| *core != me);
        let waiting = Waiting { to, resp, cores: others().count(), count: 0 };
        let number = self.publishing.0.insert(waiting);
        for core in others() {
            let message = Message::Deliver(message.clone(), Some(number as u32));
            self.outboxes.control(core, Control::PubSub(message));
        }
        self.publishing.0[number].count = self.state.deliver(&message, Receivers::All).count;
        let done = Done { nanoseconds: self.state.metrics.lap(), ..Done::default() };
        self.record(entry, done, args, b"", to);
    }

    fn reply_published(
        &mut self,
        key: ConnectionKey,
        entry: &'static Entry,
        count: usize,
        args: Args<'_>,
    ) {
        let connection = &mut self.state.connections[key.0 as usize];
        let resp = connection.client.view.resp;
        let mut buffer = connection.reply_start();
        let start = buffer.len();
        Encoder::new(&mut buffer, resp).integer(count as i64);
        let nanoseconds = self.state.metrics.lap();
        let done = Done { reply_end: buffer.len(), nanoseconds, ..Done::default() };
        self.end_reply(key, entry, buffer, start, done, args);
    }

    /// A message about messages.
    pub(crate) fn hear(&mut self, origin: ShardId, message: Message) {
        match message {
            Message::Deliver(publication, number) => {
                let delivered = self.state.deliver(&publication, Receivers::All);
                if let Some(number) = number {
                    let answer = Message::Delivered(number, delivered.count);
                    self.outboxes.control(origin, Control::PubSub(answer));
                }
            }
            Message::Delivered(number, count) => {
                let waiting = &mut self.publishing.0[number as usize];
                waiting.count += count;
                waiting.cores -= 1;
                if waiting.cores == 0 {
                    let Waiting { to, resp, count, .. } = self.publishing.0.remove(number as usize);
                    let mut reply = Vec::new();
                    Encoder::new(&mut reply, resp).integer(count as i64);
                    self.fill(to, &reply);
                }
            }
        }
    }

    /// Sends what the keyspace's readers have to tell to clients of all cores: to those that track,
    /// to monitors, and to subscribers.
    pub(crate) fn spread_notices(&mut self) {
        self.spread_invalid();
        self.spread_script_news();
        while let Some(notice) = self.state.notices.pop_front() {
            self.spread(&notice);
        }
    }

    /// Sends what scripts have published to the subscribers of all cores.
    pub(crate) fn spread_published(&mut self) {
        while let Some(message) = self.state.published.pop_front() {
            self.spread(&message);
        }
    }

    fn spread(&mut self, publication: &Publication) {
        let shards = self.state.shared.map.shards();
        let cores = self.state.cores_of(publication.topic, &publication.channel);
        for core in cores.iter(shards) {
            if core == self.state.id {
                self.state.deliver(publication, Receivers::All);
            } else {
                let message = Message::Deliver(publication.clone(), None);
                self.outboxes.control(core, Control::PubSub(message));
            }
        }
    }
}

impl CoreState {
    /// Notes a message that the server itself publishes; it is sent when the command is over.
    pub(crate) fn note_notice(&mut self, channel: Vec<u8>, payload: &[u8]) {
        let cores = self.cores_of(Topic::Channel, &channel);
        if !cores.is_empty() {
            let (channel, payload) = (channel.into(), payload.into());
            self.notices.push_back(Publication { topic: Topic::Channel, channel, payload });
        }
    }
}
