//! What runs: a script of `EVAL`, or a function of a library.

use std::borrow::Cow;
use std::sync::Arc;

use kvasir_proto::Args;

use crate::commands::definition::{ScriptKind, ScriptSource};
use crate::route::core::CoreState;
use crate::script::cache::{self, Reach, ReachHint, Script};
use crate::script::functions::Callee;
use crate::script::shebang::Declared;

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Script(Arc<Script>),
    Function(Callee),
}

impl Subject {
    /// Its digest, or its name.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Script(script) => crate::sha1::to_hex(&script.digest).into(),
            Self::Function(callee) => (&*callee.function().name).into(),
        }
    }

    pub(super) fn is_function(&self) -> bool {
        matches!(self, Self::Function(_))
    }

    pub(super) fn declared(&self) -> Declared {
        match self {
            Self::Script(script) => script.declared,
            Self::Function(callee) => callee.function().declared,
        }
    }

    /// Whether it can use no keys but those that its request declares.
    pub(super) fn is_contained(&self) -> bool {
        match self {
            Self::Script(script) => script.is_contained,
            Self::Function(_) => false,
        }
    }

    fn hint(&self) -> &ReachHint {
        match self {
            Self::Script(script) => &script.reach,
            Self::Function(callee) => &callee.function().reach,
        }
    }

    pub(super) fn reach(&self) -> Reach {
        self.hint().get()
    }

    pub(super) fn note_reach(&self, reach: Reach) {
        self.hint().note(reach);
    }
}

impl CoreState {
    /// What a request runs, if it names something that is known.
    pub(super) fn known_subject(&self, kind: ScriptKind, args: Args<'_>) -> Option<Subject> {
        match kind.source {
            ScriptSource::Text => None,
            ScriptSource::Digest => {
                let digest = cache::digest_of(args.at(1))?;
                self.know(&digest, None).ok().map(Subject::Script)
            }
            ScriptSource::Function => self.shared.functions.find(args.at(1)).map(Subject::Function),
        }
    }
}
