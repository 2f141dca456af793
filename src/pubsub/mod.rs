//! Publish and subscribe.
//!
//! A subscription belongs to the core of its connection. A message goes to the subscribers of the
//! publisher's core at once, and as one control to every other core that the [`directory`] names;
//! those answer with the number of their receivers, for the publisher's reply. Controls between two
//! cores stay in order, and so do the messages of one publisher.

pub mod directory;
pub mod message;
pub(crate) mod notify;
pub mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use self::directory::{Cores, Word};
use self::message::{Publication, Topic};
use crate::glob;
use crate::route::core::CoreState;
use crate::route::engine::ConnectionKey;

/// How many subscriptions a client has, of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Subscriptions {
    /// Channels.
    pub channels: u32,
    /// Patterns.
    pub patterns: u32,
    /// Shard channels.
    pub shard_channels: u32,
}

impl Subscriptions {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// What is told to a client after a change of its subscriptions to such a topic.
    pub fn counted_with(self, topic: Topic) -> u32 {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels + self.patterns,
            Topic::ShardChannel => self.shard_channels,
        }
    }

    fn of(&mut self, topic: Topic) -> &mut u32 {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }
}

/// Who gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receivers {
    /// All subscribers.
    All,
    /// All but the publisher, who gets it after the reply to its command.
    AllBut(ConnectionKey),
}

/// How a message was received on one core.
#[derive(PartialEq, Eq, Default, Debug)]
pub(crate) struct Delivered {
    /// Subscriptions that it was for, the publisher's own included.
    pub(crate) count: usize,
    /// What the publisher is to get after the reply, whatever it has unsubscribed from by then.
    pub(crate) own: Vec<u8>,
}

type Names<S> = HashMap<Arc<[u8]>, S, ahash::RandomState>;
/// What a client has subscribed to.
type Subscription = (Topic, Arc<[u8]>);

/// The subscriptions of one core's clients.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: Names<BTreeSet<ConnectionKey>>,
    shard_channels: Names<BTreeSet<ConnectionKey>>,
    /// In an order that does not depend on chance.
    patterns: BTreeMap<Arc<[u8]>, BTreeSet<ConnectionKey>>,
    /// For each word of the directory, how many channels of this core are in it.
    words: HashMap<Word, u32, ahash::RandomState>,
    clients: HashMap<ConnectionKey, BTreeSet<Subscription>, ahash::RandomState>,
    scratch: Vec<u8>,
}

impl PubSub {
    /// The names of this core's channels or patterns, with their subscribers.
    pub fn names(&self, topic: Topic) -> Box<dyn Iterator<Item = (&Arc<[u8]>, usize)> + '_> {
        let count = |(name, clients): (_, &BTreeSet<ConnectionKey>)| (name, clients.len());
        match topic {
            Topic::Channel => Box::new(self.channels.iter().map(count)),
            Topic::ShardChannel => Box::new(self.shard_channels.iter().map(count)),
            Topic::Pattern => Box::new(self.patterns.iter().map(count)),
        }
    }

    /// How many of this core's clients have subscribed to a channel.
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        let clients = match topic {
            Topic::Channel => self.channels.get(name),
            Topic::ShardChannel => self.shard_channels.get(name),
            Topic::Pattern => self.patterns.get(name),
        };
        clients.map_or(0, BTreeSet::len)
    }

    /// How many subscriptions of this core a message to a channel is for. O(patterns).
    pub(crate) fn receivers(&self, topic: Topic, channel: &[u8]) -> usize {
        let direct = self.subscribers(topic, channel);
        if topic == Topic::ShardChannel {
            return direct;
        }
        let patterns = self.patterns.iter().filter(|(name, _)| glob::matches(name, channel));
        direct + patterns.map(|(_, clients)| clients.len()).sum::<usize>()
    }

    /// Clients of this core with any subscription.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn insert(&mut self, topic: Topic, name: &Arc<[u8]>, client: ConnectionKey) -> bool {
        let name = Arc::clone(name);
        let clients = match topic {
            Topic::Channel => self.channels.entry(name).or_default(),
            Topic::ShardChannel => self.shard_channels.entry(name).or_default(),
            Topic::Pattern => self.patterns.entry(name).or_default(),
        };
        clients.insert(client);
        clients.len() == 1
    }

    /// Removes a subscriber; whether it was the last.
    fn remove(&mut self, topic: Topic, name: &Arc<[u8]>, client: ConnectionKey) -> bool {
        let clients = match topic {
            Topic::Channel => self.channels.get_mut(name),
            Topic::ShardChannel => self.shard_channels.get_mut(name),
            Topic::Pattern => self.patterns.get_mut(name),
        };
        let clients = clients.expect("invariant: a subscription has a name");
        clients.remove(&client);
        if !clients.is_empty() {
            return false;
        }
        match topic {
            Topic::Channel => self.channels.remove(name),
            Topic::ShardChannel => self.shard_channels.remove(name),
            Topic::Pattern => self.patterns.remove(name),
        };
        true
    }

    /// Every subscription is in both places, and what is counted is there. O(all).
    pub fn verify(&self) {
        let topics = [Topic::Channel, Topic::ShardChannel, Topic::Pattern];
        let named: usize =
            topics.iter().flat_map(|topic| self.names(*topic)).map(|(_, count)| count).sum();
        assert_eq!(named, self.clients.values().map(BTreeSet::len).sum::<usize>());
        for (client, subscriptions) in &self.clients {
            assert!(!subscriptions.is_empty(), "a client without subscriptions is removed");
            for (topic, name) in subscriptions {
                let clients = match topic {
                    Topic::Channel => &self.channels[name],
                    Topic::ShardChannel => &self.shard_channels[name],
                    Topic::Pattern => &self.patterns[name],
                };
                assert!(clients.contains(client), "a subscription is in both places");
            }
        }
        let words: usize = self.words.values().map(|count| *count as usize).sum();
        assert_eq!(words, self.channels.len() + self.shard_channels.len());
    }
}

impl CoreState {
    /// Subscribes a connection; false when it had been before.
    pub fn subscribe(&mut self, client: ConnectionKey, topic: Topic, name: &[u8]) -> bool {
        let name: Arc<[u8]> = name.into();
        let subscriptions = self.pubsub.clients.entry(client).or_default();
        if !subscriptions.insert((topic, Arc::clone(&name))) {
            return false;
        }
        *self.connections[client.0 as usize].client.subscriptions.of(topic) += 1;
        if self.pubsub.insert(topic, &name, client) {
            self.note_name(topic, &name, true);
        }
        true
    }

    /// Ends a subscription; false when there was none.
    pub fn unsubscribe(&mut self, client: ConnectionKey, topic: Topic, name: &[u8]) -> bool {
        let name: Arc<[u8]> = name.into();
        let Some(subscriptions) = self.pubsub.clients.get_mut(&client) else { return false };
        if !subscriptions.remove(&(topic, Arc::clone(&name))) {
            return false;
        }
        if subscriptions.is_empty() {
            self.pubsub.clients.remove(&client);
        }
        *self.connections[client.0 as usize].client.subscriptions.of(topic) -= 1;
        if self.pubsub.remove(topic, &name, client) {
            self.note_name(topic, &name, false);
        }
        true
    }

    /// What a connection has subscribed to.
    pub fn subscriptions(&self, client: ConnectionKey, topic: Topic) -> Vec<Arc<[u8]>> {
        let all = self.pubsub.clients.get(&client).into_iter().flatten();
        all.filter(|(of, _)| *of == topic).map(|(_, name)| Arc::clone(name)).collect()
    }

    /// Ends all subscriptions of a connection, and tells nobody.
    pub fn unsubscribe_all(&mut self, client: ConnectionKey) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::ShardChannel] {
            for name in self.subscriptions(client, topic) {
                self.unsubscribe(client, topic, &name);
            }
        }
    }

    /// A name has its first subscriber of this core, or has lost its last.
    fn note_name(&mut self, topic: Topic, name: &[u8], has: bool) {
        let directory = &self.shared.pubsub;
        if topic == Topic::Pattern {
            return directory.note_patterns(self.id, !self.pubsub.patterns.is_empty());
        }
        let word = word_of(self.shard.hash(name), topic);
        let count = self.pubsub.words.entry(word).or_default();
        *count = if has { *count + 1 } else { *count - 1 };
        let any = *count > 0;
        if !any {
            self.pubsub.words.remove(&word);
        }
        directory.note_channel(word, self.id, any);
    }

    /// The cores that may have subscribers of a channel.
    pub(crate) fn cores_of(&self, topic: Topic, channel: &[u8]) -> Cores {
        let word = word_of(self.shard.hash(channel), topic);
        self.shared.pubsub.cores(word, topic == Topic::Channel)
    }

    /// Sends a message to this core's subscribers.
    pub(crate) fn deliver(&mut self, message: &Publication, to: Receivers) -> Delivered {
        let mut delivered = Delivered::default();
        let mut scratch = std::mem::take(&mut self.pubsub.scratch);
        let names = match message.topic {
            Topic::ShardChannel => &mut self.pubsub.shard_channels,
            Topic::Channel | Topic::Pattern => &mut self.pubsub.channels,
        };
        let names = std::mem::take(names);
        if let Some(clients) = names.get(&message.channel) {
            scratch.clear();
            message.encode(None, &mut scratch);
            self.send_to(clients, &mut scratch, to, &mut delivered);
        }
        match message.topic {
            Topic::ShardChannel => self.pubsub.shard_channels = names,
            Topic::Channel | Topic::Pattern => self.pubsub.channels = names,
        }
        if message.topic == Topic::Channel && !self.pubsub.patterns.is_empty() {
            let patterns = std::mem::take(&mut self.pubsub.patterns);
            for (pattern, clients) in &patterns {
                if glob::matches(pattern, &message.channel) {
                    scratch.clear();
                    message.encode(Some(pattern), &mut scratch);
                    self.send_to(clients, &mut scratch, to, &mut delivered);
                }
            }
            self.pubsub.patterns = patterns;
        }
        self.pubsub.scratch = scratch;
        delivered
    }

    fn send_to(
        &mut self,
        clients: &BTreeSet<ConnectionKey>,
        encoded: &mut [u8],
        to: Receivers,
        delivered: &mut Delivered,
    ) {
        let gathers = self.gathers_messages(clients.len());
        for &client in clients {
            delivered.count += 1;
            let resp = self.connections[client.0 as usize].client.view.resp;
            encoded[0] = message::head(resp);
            if to == Receivers::AllBut(client) {
                delivered.own.extend_from_slice(encoded);
            } else if gathers {
                self.gather_message(client, encoded);
            } else {
                self.push_behind_replies(client, encoded);
            }
        }
    }
}

/// Both kinds of channels share the words, and each name has one for each.
fn word_of(hash: u64, topic: Topic) -> Word {
    Word::of(if topic == Topic::ShardChannel { !hash } else { hash })
}

#[cfg(test)]
mod tests;
