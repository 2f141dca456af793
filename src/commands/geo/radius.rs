//! The older commands that search: GEORADIUS, GEORADIUSBYMEMBER and their read-only forms.

use kvasir_proto::{Args, Encoder};

use super::area::{run_here, run_there};
use super::search::{Kind, Origin, Target};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{
    Arg, Arity, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;
use crate::route::transaction::{Request, Transaction};

pub(super) const GEORADIUS: Command = Command {
    name: "georadius",
    summary: "Queries a geospatial index for members within a distance from a coordinate, \
        optionally stores the result.",
    complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of \
        the circular area delimited by center and radius and M is the number of \
        items inside the index.",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::after("STORE", 6).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::after("STOREDIST", 6).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[
        Arg::key("key", 0),
        Arg::double("longitude"),
        Arg::double("latitude"),
        Arg::double("radius"),
        Arg::one_of(
            "unit",
            &[
                Arg::token("m", "M"),
                Arg::token("km", "KM"),
                Arg::token("ft", "FT"),
                Arg::token("mi", "MI"),
            ],
        ),
        Arg::token("withcoord", "WITHCOORD").optional(),
        Arg::token("withdist", "WITHDIST").optional(),
        Arg::token("withhash", "WITHHASH").optional(),
        Arg::block(
            "count-block",
            &[
                Arg::integer("count").after("COUNT"),
                Arg::token("any", "ANY").optional().since("6.2.0"),
            ],
        )
        .optional(),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::one_of(
            "store",
            &[
                Arg::key("storekey", 1).after("STORE").display("key"),
                Arg::key("storedistkey", 2).after("STOREDIST").display("key"),
            ],
        )
        .optional(),
    ],
    history: &[
        ("6.2.0", "Added the `ANY` option for `COUNT`."),
        ("7.0.0", "Added support for uppercase unit names."),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
    }),
    handler: Handler::Multi { whole: georadius, spread: georadius_spread },
    ..Command::BASE
};

const GEORADIUS_KIND: Kind = Kind { origin: Origin::Coordinates, target: Target::Words };

fn georadius(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEORADIUS_KIND)
}

fn georadius_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, GEORADIUS_KIND)
}

pub(super) const GEORADIUS_RO: Command = Command {
    name: "georadius_ro",
    summary: "Returns members from a geospatial index that are within a distance from a \
        coordinate.",
    complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of \
        the circular area delimited by center and radius and M is the number of \
        items inside the index.",
    since: "3.2.10",
    group: Group::Geo,
    arity: Arity::at_least(6),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::double("longitude"),
        Arg::double("latitude"),
        Arg::double("radius"),
        Arg::one_of(
            "unit",
            &[
                Arg::token("m", "M"),
                Arg::token("km", "KM"),
                Arg::token("ft", "FT"),
                Arg::token("mi", "MI"),
            ],
        ),
        Arg::token("withcoord", "WITHCOORD").optional(),
        Arg::token("withdist", "WITHDIST").optional(),
        Arg::token("withhash", "WITHHASH").optional(),
        Arg::block(
            "count-block",
            &[
                Arg::integer("count").after("COUNT"),
                Arg::token("any", "ANY").optional().since("6.2.0"),
            ],
        )
        .optional(),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
    ],
    history: &[
        ("6.2.0", "Added the `ANY` option for `COUNT`."),
        ("7.0.0", "Added support for uppercase unit names."),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
    }),
    handler: Handler::Shard(georadius_ro),
    ..Command::BASE
};

const GEORADIUS_RO_KIND: Kind = Kind { origin: Origin::Coordinates, target: Target::Reply };

fn georadius_ro(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEORADIUS_RO_KIND)
}

pub(super) const GEORADIUSBYMEMBER: Command = Command {
    name: "georadiusbymember",
    summary: "Queries a geospatial index for members within a distance from a member, \
        optionally stores the result.",
    complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of \
        the circular area delimited by center and radius and M is the number of \
        items inside the index.",
    since: "3.2.0",
    group: Group::Geo,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::after("STORE", 5).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::after("STOREDIST", 5).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[
        Arg::key("key", 0),
        Arg::string("member"),
        Arg::double("radius"),
        Arg::one_of(
            "unit",
            &[
                Arg::token("m", "M"),
                Arg::token("km", "KM"),
                Arg::token("ft", "FT"),
                Arg::token("mi", "MI"),
            ],
        ),
        Arg::token("withcoord", "WITHCOORD").optional(),
        Arg::token("withdist", "WITHDIST").optional(),
        Arg::token("withhash", "WITHHASH").optional(),
        Arg::block(
            "count-block",
            &[Arg::integer("count").after("COUNT"), Arg::token("any", "ANY").optional()],
        )
        .optional(),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::one_of(
            "store",
            &[
                Arg::key("storekey", 1).after("STORE").display("key"),
                Arg::key("storedistkey", 2).after("STOREDIST").display("key"),
            ],
        )
        .optional(),
    ],
    history: &[
        ("6.2.0", "Added the `ANY` option for `COUNT`."),
        ("7.0.0", "Added support for uppercase unit names."),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` \
        arguments",
    }),
    handler: Handler::Multi { whole: georadiusbymember, spread: georadiusbymember_spread },
    ..Command::BASE
};

const GEORADIUSBYMEMBER_KIND: Kind = Kind { origin: Origin::Member, target: Target::Words };

fn georadiusbymember(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEORADIUSBYMEMBER_KIND)
}

fn georadiusbymember_spread(transaction: Transaction, request: Request) -> Coordination {
    run_there(transaction, request, GEORADIUSBYMEMBER_KIND)
}

pub(super) const GEORADIUSBYMEMBER_RO: Command = Command {
    name: "georadiusbymember_ro",
    summary: "Returns members from a geospatial index that are within a distance from a \
        member.",
    complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of \
        the circular area delimited by center and radius and M is the number of \
        items inside the index.",
    since: "3.2.10",
    group: Group::Geo,
    arity: Arity::at_least(5),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::string("member"),
        Arg::double("radius"),
        Arg::one_of(
            "unit",
            &[
                Arg::token("m", "M"),
                Arg::token("km", "KM"),
                Arg::token("ft", "FT"),
                Arg::token("mi", "MI"),
            ],
        ),
        Arg::token("withcoord", "WITHCOORD").optional(),
        Arg::token("withdist", "WITHDIST").optional(),
        Arg::token("withhash", "WITHHASH").optional(),
        Arg::block(
            "count-block",
            &[Arg::integer("count").after("COUNT"), Arg::token("any", "ANY").optional()],
        )
        .optional(),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
    ],
    history: &[
        ("6.2.0", "Added the `ANY` option for `COUNT`."),
        ("7.0.0", "Added support for uppercase unit names."),
    ],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
    }),
    handler: Handler::Shard(georadiusbymember_ro),
    ..Command::BASE
};

const GEORADIUSBYMEMBER_RO_KIND: Kind = Kind { origin: Origin::Member, target: Target::Reply };

fn georadiusbymember_ro(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    run_here(context, args, reply, GEORADIUSBYMEMBER_RO_KIND)
}
