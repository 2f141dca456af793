//! The commands that search: GEOSEARCH, GEOSEARCHSTORE, and what the older forms share with
//! them.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::Elements;

use super::search::{Kind, Origin, Query, Target};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::zset::store::{store, store_last};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// What a search came to.
enum Outcome {
    /// The reply was written.
    Replied,
    /// Members to be stored under the key at this index of the arguments.
    Store(usize, Elements),
}

fn search(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    kind: Kind,
) -> Result<Outcome, CommandError> {
    let key = context.key(args.at(kind.source()));
    let zset = context.read_zset(&key)?;
    let query = Query::parse(args, kind, zset)?;
    if let Some(storage) = query.storage {
        return Ok(Outcome::Store(storage.key, query.elements(zset.as_ref())));
    }
    query.encode(zset.as_ref(), reply);
    Ok(Outcome::Replied)
}

pub(super) fn run_here(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    kind: Kind,
) -> Result<(), CommandError> {
    if let Outcome::Store(key, elements) = search(context, args, reply, kind)? {
        let count = store(context, args.at(key), elements, kind.event())?;
        reply.integer(count as i64);
    }
    Ok(())
}

pub(super) fn run_there(transaction: Transaction, request: Request, kind: Kind) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let args = request.owned_args();
        let task = move |state: &mut CoreState| {
            let mut out = Vec::new();
            let mut reply = Encoder::new(&mut out, view.resp);
            let outcome = search(&mut shard_context(state, view), args.view(), &mut reply, kind);
            outcome.map(|outcome| (outcome, out))
        };
        let source = request.owner(request.args().at(kind.source()));
        match transaction.on(source, task).await? {
            (Outcome::Replied, out) => Ok(out),
            (Outcome::Store(key, elements), _) => {
                let key = request.args().at(key);
                let count = store_last(&transaction, &request, key, elements, kind.event()).await?;
                Ok(request.encode(|reply| reply.integer(count as i64)))
            }
        }
    })
}

pub(super) const GEOSEARCH: Command = Command {
    name: "geosearch",
    summary: "Queries a geospatial index for members inside an area of a box or a circle.",
    complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding \
        box area around the shape provided as the filter and M is the number of \
        items inside the shape",
    since: "6.2.0",
    group: Group::Geo,
    arity: Arity::at_least(7),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "from",
            &[
                Arg::string("member").after("FROMMEMBER"),
                Arg::block("fromlonlat", &[Arg::double("longitude"), Arg::double("latitude")])
                    .after("FROMLONLAT"),
            ],
        ),
        Arg::one_of(
            "by",
            &[
                Arg::block(
                    "circle",
                    &[
                        Arg::double("radius").after("BYRADIUS"),
                        Arg::one_of(
                            "unit",
                            &[
                                Arg::token("m", "M"),
                                Arg::token("km", "KM"),
                                Arg::token("ft", "FT"),
                                Arg::token("mi", "MI"),
                            ],
                        ),
                    ],
                ),
                Arg::block(
                    "box",
                    &[
                        Arg::double("width").after("BYBOX"),
                        Arg::double("height"),
                        Arg::one_of(
                            "unit",
                            &[
                                Arg::token("m", "M"),
                                Arg::token("km", "KM"),
                                Arg::token("ft", "FT"),
                                Arg::token("mi", "MI"),
                            ],
                        ),
                    ],
                ),
            ],
        ),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::block(
            "count-block",
            &[Arg::integer("count").after("COUNT"), Arg::token("any", "ANY").optional()],
        )
        .optional(),
        Arg::token("withcoord", "WITHCOORD").optional(),
        Arg::token("withdist", "WITHDIST").optional(),
        Arg::token("withhash", "WITHHASH").optional(),
    ],
    history: &[("7.0.0", "Added support for uppercase unit names.")],
    handler: Handler::Shard(geosearch),
    ..Command::BASE
};

const GEOSEARCH_KIND: Kind = Kind { origin: Origin::Words, target: Target::Reply };

fn geosearch(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEOSEARCH_KIND)
}

pub(super) const GEOSEARCHSTORE: Command = Command {
    name: "geosearchstore",
    summary: "Queries a geospatial index for members inside an area of a box or a circle, \
        optionally stores the result.",
    complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding \
        box area around the shape provided as the filter and M is the number of \
        items inside the shape",
    since: "6.2.0",
    group: Group::Geo,
    arity: Arity::at_least(8),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::key("destination", 0),
        Arg::key("source", 1),
        Arg::one_of(
            "from",
            &[
                Arg::string("member").after("FROMMEMBER"),
                Arg::block("fromlonlat", &[Arg::double("longitude"), Arg::double("latitude")])
                    .after("FROMLONLAT"),
            ],
        ),
        Arg::one_of(
            "by",
            &[
                Arg::block(
                    "circle",
                    &[
                        Arg::double("radius").after("BYRADIUS"),
                        Arg::one_of(
                            "unit",
                            &[
                                Arg::token("m", "M"),
                                Arg::token("km", "KM"),
                                Arg::token("ft", "FT"),
                                Arg::token("mi", "MI"),
                            ],
                        ),
                    ],
                ),
                Arg::block(
                    "box",
                    &[
                        Arg::double("width").after("BYBOX"),
                        Arg::double("height"),
                        Arg::one_of(
                            "unit",
                            &[
                                Arg::token("m", "M"),
                                Arg::token("km", "KM"),
                                Arg::token("ft", "FT"),
                                Arg::token("mi", "MI"),
                            ],
                        ),
                    ],
                ),
            ],
        ),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::block(
            "count-block",
            &[Arg::integer("count").after("COUNT"), Arg::token("any", "ANY").optional()],
        )
        .optional(),
        Arg::token("storedist", "STOREDIST").optional(),
    ],
    history: &[("7.0.0", "Added support for uppercase unit names.")],
    handler: Handler::Multi { whole: geosearchstore, spread: geosearchstore_spread },
    ..Command::BASE
};

const GEOSEARCHSTORE_KIND: Kind = Kind { origin: Origin::Words, target: Target::First };

fn geosearchstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEOSEARCHSTORE_KIND)
}

fn geosearchstore_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, GEOSEARCHSTORE_KIND)
}
