//! Searching around a place: what the words of GEOSEARCH and its older forms ask for, and how it is
//! found.

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::{Direction, Elements, ValueRef, ZsetRef};

use super::hash::Position;
use super::shape::{Form, Shape, middle};
use super::text::{Unit, encode_distance, encode_position, length, position};
use crate::commands::arguments::{Options, integer, is_word};
use crate::errors::CommandError;

/// Members that are looked at between two looks at whether there are enough.
const BATCH: usize = 64;

const ONE_ORIGIN: &str = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
const ONE_FORM: &str = "ERR exactly one of BYRADIUS and BYBOX can be specified for ";

/// Where a command has its center.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// Among the words: the newer commands.
    Words,
    /// Longitude and latitude after the key, then a radius.
    Coordinates,
    /// A member after the key, then a radius.
    Member,
}

/// What becomes of the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// It is replied.
    Reply,
    /// It is stored under the key before the source's.
    First,
    /// It is stored where STORE or STOREDIST say so, and replied otherwise.
    Words,
}

/// A command of this family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) origin: Origin,
    pub(super) target: Target,
}

impl Kind {
    /// The index of the source's key.
    pub(super) fn source(self) -> usize {
        if self.target == Target::First { 2 } else { 1 }
    }

    /// The event of a result that is stored.
    pub(super) fn event(self) -> &'static str {
        if self.origin == Origin::Words { "geosearchstore" } else { "georadiusstore" }
    }
}

/// In which order results come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sorting {
    Nearest,
    Farthest,
}

/// What is replied of each member besides its name.
#[derive(Clone, Copy, Default, Debug)]
struct Extras {
    distance: bool,
    hash: bool,
    position: bool,
}

impl Extras {
    fn count(self) -> usize {
        usize::from(self.distance) + usize::from(self.hash) + usize::from(self.position)
    }
}

/// Where a result is stored, and what its scores are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Storage {
    /// The index of the key among the arguments.
    pub(super) key: usize,
    distances: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Query {
    shape: Shape,
    unit: Unit,
    sorting: Option<Sorting>,
    count: Option<usize>,
    any: bool,
    extras: Extras,
    pub(super) storage: Option<Storage>,
}

/// A member that was found.
#[derive(Clone, Debug)]
struct Found {
    name: Vec<u8>,
    score: f64,
    place: Position,
    /// From the center, in metres.
    distance: f64,
}

/// The words as they are read.
struct Parser<'a, 'z> {
    kind: Kind,
    args: Args<'a>,
    words: Options<'a>,
    zset: Option<ZsetRef<'z>>,
    center: Option<Position>,
    form: Option<(Form, Unit)>,
    sorting: Option<Sorting>,
    count: Option<usize>,
    any: bool,
    extras: Extras,
    storage: Option<Storage>,
    /// The scores of what GEOSEARCHSTORE stores are distances.
    distances: bool,
}

/// The center of a search around a member of a missing key: nothing is there anyway.
const NOWHERE: Position = Position { longitude: 0.0, latitude: 0.0 };

impl Query {
    /// Reads a request. `zset` is the source, in which a center may be named; its type has been
    /// checked, which comes before everything else as in the peers.
    pub(super) fn parse(
        args: Args<'_>,
        kind: Kind,
        zset: Option<ZsetRef<'_>>,
    ) -> Result<Self, CommandError> {
        let first = match kind.origin {
            Origin::Words => kind.source() + 1,
            Origin::Coordinates => 6,
            Origin::Member => 5,
        };
        let mut parser = Parser {
            kind,
            args,
            words: Options::new(args, first),
            zset,
            center: None,
            form: None,
            sorting: None,
            count: None,
            any: false,
            extras: Extras::default(),
            storage: None,
            distances: false,
        };
        parser.fixed_arguments()?;
        while let Some(word) = parser.words.next() {
            if !(parser.plain_word(word) || parser.common_word(word)? || parser.own_word(word)?) {
                return Err(CommandError::Syntax);
            }
        }
        parser.finish()
    }

    /// The members that are asked for, in the order that is asked for.
    fn run(&self, zset: &ZsetRef<'_>) -> Vec<Found> {
        let enough = if self.any { self.count.unwrap_or(usize::MAX) } else { usize::MAX };
        let mut all = Vec::new();
        for cell in self.shape.cells() {
            if all.len() >= enough {
                break;
            }
            let (first, end) = cell.scores();
            let end = zset.before_score(end, false);
            let mut start = zset.before_score(first, false);
            while start < end && all.len() < enough {
                let stop = end.min(start + BATCH);
                zset.visit_range(start, stop, Direction::Forward, |name, score| {
                    let place = Position::of_score(score);
                    if let Some(distance) = self.shape.distance_inside(place) {
                        let name = name.to_vec().unwrap_or_default();
                        all.push(Found { name, score, place, distance });
                    }
                });
                start = stop;
            }
        }
        all.truncate(enough);
        match self.sorting {
            None => {}
            Some(Sorting::Nearest) => all.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Sorting::Farthest) => all.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        }
        all.truncate(self.count.unwrap_or(usize::MAX));
        all
    }

    /// Searches and replies.
    pub(super) fn encode(&self, zset: Option<&ZsetRef<'_>>, reply: &mut Encoder<'_>) {
        let found = zset.map_or_else(Vec::new, |zset| self.run(zset));
        let extras = self.extras.count();
        reply.array(found.len());
        for member in &found {
            if extras > 0 {
                reply.array(1 + extras);
            }
            reply.bulk(&member.name);
            if self.extras.distance {
                encode_distance(self.unit.of_metres(member.distance), reply);
            }
            if self.extras.hash {
                reply.integer(member.score as i64);
            }
            if self.extras.position {
                encode_position(member.place, reply);
            }
        }
    }

    /// Searches for what is to be stored.
    pub(super) fn elements(&self, zset: Option<&ZsetRef<'_>>) -> Elements {
        let found = zset.map_or_else(Vec::new, |zset| self.run(zset));
        let distances = self.storage.is_some_and(|storage| storage.distances);
        let mut elements = Elements::default();
        for member in &found {
            let distance = self.unit.of_metres(member.distance);
            let score = if distances { distance } else { member.score };
            elements.push_scored(ValueRef::Bytes(&member.name), score, None);
        }
        elements
    }
}

impl Parser<'_, '_> {
    /// Reads what the older forms have in fixed places.
    fn fixed_arguments(&mut self) -> Result<(), CommandError> {
        let at = match self.kind.origin {
            Origin::Words => return Ok(()),
            Origin::Coordinates => {
                self.center = Some(position(self.args.at(2), self.args.at(3))?);
                4
            }
            Origin::Member => {
                self.center = Some(self.member(self.args.at(2))?);
                if self.zset.is_none() {
                    // The peers do not read the radius then.
                    self.form = Some((Form::Circle { radius: 0.0 }, Unit::METRES));
                    return Ok(());
                }
                3
            }
        };
        self.form = Some(circle(self.args.at(at), self.args.at(at + 1))?);
        Ok(())
    }

    /// The position of a member.
    fn member(&self, name: &[u8]) -> Result<Position, CommandError> {
        let Some(zset) = &self.zset else { return Ok(NOWHERE) };
        let error = CommandError::Other("ERR could not decode requested zset member");
        zset.score(name).map(Position::of_score).ok_or(error)
    }

    /// Takes a word that stands for itself; whether it is one.
    fn plain_word(&mut self, word: &[u8]) -> bool {
        if is_word(word, "WITHDIST") {
            self.extras.distance = true;
        } else if is_word(word, "WITHHASH") {
            self.extras.hash = true;
        } else if is_word(word, "WITHCOORD") {
            self.extras.position = true;
        } else if is_word(word, "ANY") {
            self.any = true;
        } else if is_word(word, "ASC") {
            self.sorting = Some(Sorting::Nearest);
        } else if is_word(word, "DESC") {
            self.sorting = Some(Sorting::Farthest);
        } else if is_word(word, "STOREDIST") && self.kind.target == Target::First {
            self.distances = true;
        } else {
            return false;
        }
        true
    }

    /// Takes a word with a value that all forms have, or only the older ones.
    fn common_word(&mut self, word: &[u8]) -> Result<bool, CommandError> {
        if self.words.left() == 0 {
            return Ok(false);
        }
        if is_word(word, "COUNT") {
            let count = integer(self.words.value()?)?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0);
            self.count = Some(count.ok_or(CommandError::Other("ERR COUNT must be > 0"))?);
            return Ok(true);
        }
        let distances = is_word(word, "STOREDIST");
        if self.kind.target == Target::Words && (distances || is_word(word, "STORE")) {
            let key = self.args.len() - self.words.left();
            self.storage = Some(Storage { key, distances });
            self.words.skip(1);
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes a word of the newer forms.
    fn own_word(&mut self, word: &[u8]) -> Result<bool, CommandError> {
        if self.kind.origin != Origin::Words {
            return Ok(false);
        }
        let left = self.words.left();
        if is_word(word, "FROMMEMBER") && left > 0 && self.center.is_none() {
            let name = self.words.value()?;
            self.center = Some(self.member(name)?);
        } else if is_word(word, "FROMLONLAT") && left > 1 && self.center.is_none() {
            self.center = Some(position(self.words.value()?, self.words.value()?)?);
        } else if is_word(word, "BYRADIUS") && left > 1 && self.form.is_none() {
            self.form = Some(circle(self.words.value()?, self.words.value()?)?);
        } else if is_word(word, "BYBOX") && left > 2 && self.form.is_none() {
            self.form = Some(self.rectangle()?);
        } else if is_word(word, "BYPOLYGON")
            && left > 0
            && self.form.is_none()
            && self.center.is_none()
        {
            self.polygon()?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn rectangle(&mut self) -> Result<(Form, Unit), CommandError> {
        let width = length(self.words.value()?, "ERR need numeric width")?;
        let height = length(self.words.value()?, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::Other("ERR height or width cannot be negative"));
        }
        let unit = Unit::parse(self.words.value()?)?;
        let form = Form::Box { width: unit.to_metres(width), height: unit.to_metres(height) };
        Ok((form, unit))
    }

    /// A polygon brings its own center.
    fn polygon(&mut self) -> Result<(), CommandError> {
        let vertices = number::parse_i64(self.words.value()?).ok_or(CommandError::NotAnInteger)?;
        if vertices < 3 {
            let text = "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices";
            return Err(CommandError::Other(text));
        }
        let places = usize::try_from(vertices).ok().and_then(|count| count.checked_mul(2));
        let count = places.filter(|count| *count <= self.words.left());
        let count = count.ok_or(CommandError::Syntax)? / 2;
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            places.push(position(self.words.value()?, self.words.value()?)?);
        }
        self.center = Some(middle(&places));
        self.form = Some((Form::Polygon(places), Unit::METRES));
        Ok(())
    }

    /// Checks what belongs together.
    fn finish(self) -> Result<Query, CommandError> {
        let Self { kind, args, center, form, count, any, extras, mut storage, .. } = self;
        if kind.target == Target::First {
            storage = Some(Storage { key: 1, distances: self.distances });
        }
        if storage.is_some() && extras.count() > 0 {
            let what = match kind.target {
                Target::First => "GEOSEARCHSTORE",
                Target::Words | Target::Reply => "STORE option in GEORADIUS",
            };
            return Err(CommandError::Custom(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let needs = |text| CommandError::quoting(text, args.at(0), "");
        let center = center.ok_or_else(|| needs(ONE_ORIGIN))?;
        let (form, unit) = form.ok_or_else(|| needs(ONE_FORM))?;
        if any && count.is_none() {
            return Err(CommandError::Other("ERR the ANY argument requires COUNT argument"));
        }
        let nearest_first = count.is_some() && !any;
        let sorting = self.sorting.or(nearest_first.then_some(Sorting::Nearest));
        let shape = Shape { form, center };
        Ok(Query { shape, unit, sorting, count, any, extras, storage })
    }
}

fn circle(radius: &[u8], unit: &[u8]) -> Result<(Form, Unit), CommandError> {
    let radius = length(radius, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::Other("ERR radius cannot be negative"));
    }
    let unit = Unit::parse(unit)?;
    Ok((Form::Circle { radius: unit.to_metres(radius) }, unit))
}
