//! The libraries of a server: which there are, and which function belongs to which.
//!
//! A catalog never changes: what comes or goes makes another one, and either all of that succeeds
//! or there is none. Cores read the present one without locks. Whoever replaces it holds locks on
//! everything of every shard, or is the only one who loads data, so that a function is either
//! there for a whole transaction or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::metadata::{self, before_zero, valid_name};
use crate::errors::CommandError;
use crate::script::cache::ReachHint;
use crate::script::shebang::Declared;

/// What tells libraries apart that have had the same name.
pub type LibraryId = u64;

/// A library whose code has not run yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its number.
    pub id: LibraryId,
    /// Its name.
    pub name: Box<str>,
    /// As it was sent, first line included.
    pub code: Arc<[u8]>,
    code_at: usize,
}

/// What the code of a library has registered under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The name, which need not be one that a function may have.
    pub name: Vec<u8>,
    /// What it is for.
    pub description: Option<Box<[u8]>>,
    /// Its flags.
    pub declared: Declared,
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: Box<str>,
    /// What it is for.
    pub description: Option<Box<[u8]>>,
    /// Its flags.
    pub declared: Declared,
    /// What is known of its keys.
    pub reach: ReachHint,
}

/// A library that has been loaded.
#[derive(Debug)]
pub struct Library {
    draft: Draft,
    /// Its functions, in the order in which its code registers them; at least one.
    functions: Vec<Function>,
}

/// A function of a library, found by its name.
#[derive(Clone, Debug)]
pub struct Callee {
    /// The library.
    pub library: Arc<Library>,
    /// The function's place in it.
    pub index: usize,
}

impl Draft {
    /// Reads the first line. The rest is for the interpreter.
    pub fn new(id: LibraryId, code: &[u8]) -> Result<Self, CommandError> {
        let metadata::Metadata { name, code_at } = metadata::parse(code)?;
        Ok(Self { id, name, code: code.into(), code_at })
    }

    /// What the interpreter compiles. As in the peers it ends at the first zero byte.
    pub fn body(&self) -> &[u8] {
        before_zero(&self.code[self.code_at..])
    }

    /// The library, after its code has run and registered these functions.
    pub fn finish(self, registered: Vec<Registered>) -> Result<Library, CommandError> {
        let mut functions: Vec<Function> = Vec::with_capacity(registered.len());
        let mut names = HashSet::<_, ahash::RandomState>::default();
        for Registered { name, description, declared } in registered {
            let name = valid_name(&name).ok_or(CommandError::Other(
                "ERR Function names can only contain letters, numbers, or underscores(_) and must \
                 be at least one character long",
            ))?;
            // The peers tell letter cases apart here and nowhere else, and fail later.
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(CommandError::Other("ERR Function already exists in the library"));
            }
            let (name, reach) = (name.into(), ReachHint::default());
            functions.push(Function { name, description, declared, reach });
        }
        if functions.is_empty() {
            return Err(CommandError::Other("ERR No functions registered"));
        }
        Ok(Library { draft: self, functions })
    }
}

impl Library {
    /// Its number.
    pub fn id(&self) -> LibraryId {
        self.draft.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.draft.name
    }

    /// As it was sent.
    pub fn code(&self) -> &[u8] {
        &self.draft.code
    }

    /// What the interpreter compiles.
    pub fn body(&self) -> &[u8] {
        self.draft.body()
    }

    /// Its functions, in the order in which its code registers them.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    fn bytes(&self) -> usize {
        let text = |function: &Function| {
            function.name.len() + function.description.as_ref().map_or(0, |text| text.len())
        };
        let functions =
            self.functions.iter().map(|function| size_of::<Function>() + text(function));
        size_of::<Self>() + self.draft.code.len() + functions.sum::<usize>()
    }
}

impl Callee {
    /// The function itself.
    pub fn function(&self) -> &Function {
        &self.library.functions[self.index]
    }
}

/// The libraries at one moment.
#[derive(Clone, Default, Debug)]
pub struct Catalog {
    libraries: BTreeMap<Box<str>, Arc<Library>>,
    /// By the name in lower case.
    functions: HashMap<Box<[u8]>, Callee, ahash::RandomState>,
    /// Another for each catalog that was the present one.
    version: u64,
}

impl Catalog {
    /// The libraries, by name.
    pub fn libraries(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Changes with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The numbers of the libraries. O(libraries).
    pub fn ids(&self) -> HashSet<LibraryId, ahash::RandomState> {
        self.libraries.values().map(|library| library.id()).collect()
    }

    /// Whether a library may come: that of its name, if there is one, must give way to it.
    pub fn admits(&self, draft: &Draft, replace: bool) -> Result<(), CommandError> {
        if self.libraries.contains_key(&draft.name) && !replace {
            let name = &draft.name;
            return Err(CommandError::Custom(format!("ERR Library '{name}' already exists")));
        }
        Ok(())
    }

    /// The function of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Callee> {
        let name = before_zero(name);
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.functions.get(&*name.to_ascii_lowercase());
        }
        self.functions.get(name)
    }

    /// Adds libraries, in place of those of the same names if they may be replaced. Either all or
    /// none are there afterwards.
    pub fn with(&self, added: &[Arc<Library>], replace: bool) -> Result<Self, CommandError> {
        let mut catalog = self.clone();
        for library in added {
            let name = library.name();
            if catalog.libraries.contains_key(name) && !replace {
                return Err(CommandError::Custom(format!("ERR Library {name} already exists")));
            }
            catalog.unlink(library.name().as_bytes());
        }
        for library in added {
            catalog.link(library)?;
        }
        Ok(catalog)
    }

    /// Takes a library away; nothing if there is none of this name.
    pub fn without(&self, name: &[u8]) -> Option<Self> {
        let mut catalog = self.clone();
        catalog.unlink(name).then_some(catalog)
    }

    fn link(&mut self, library: &Arc<Library>) -> Result<(), CommandError> {
        for (index, function) in library.functions.iter().enumerate() {
            let callee = Callee { library: Arc::clone(library), index };
            let name = function.name.to_ascii_lowercase().into_bytes().into();
            if self.functions.insert(name, callee).is_some() {
                let name = &function.name;
                return Err(CommandError::Custom(format!("ERR Function {name} already exists")));
            }
        }
        self.libraries.insert(library.name().into(), Arc::clone(library));
        Ok(())
    }

    fn unlink(&mut self, name: &[u8]) -> bool {
        let name = std::str::from_utf8(before_zero(name)).unwrap_or_default();
        let Some(library) = self.libraries.remove(name) else { return false };
        for function in &library.functions {
            let removed = self.functions.remove(function.name.to_ascii_lowercase().as_bytes());
            assert!(removed.is_some(), "invariant: a library's functions are found by their names");
        }
        true
    }

    /// Bytes of all libraries, without what the interpreters make of them. O(functions).
    pub fn bytes(&self) -> usize {
        let entries = self.functions.len() * (size_of::<Box<[u8]>>() + size_of::<Callee>());
        entries + self.libraries.values().map(|library| library.bytes()).sum::<usize>()
    }

    /// Checks the invariants; O(functions).
    pub fn verify(&self) {
        let listed: usize = self.libraries.values().map(|library| library.functions.len()).sum();
        assert_eq!(listed, self.functions.len(), "each function is found by one name");
        for (name, callee) in &self.functions {
            assert_eq!(
                callee.function().name.to_ascii_lowercase().as_bytes(),
                &**name,
                "a name is its function's"
            );
            let library = self.libraries.get(callee.library.name());
            let is_present = library.is_some_and(|library| library.id() == callee.library.id());
            assert!(is_present, "a function's library is there");
        }
    }
}

/// The libraries of the server.
#[derive(Default, Debug)]
pub struct Functions {
    catalog: ArcSwap<Catalog>,
    next: AtomicU64,
}

impl Functions {
    /// The present catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// The function of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<Callee> {
        self.catalog.load().find(name).cloned()
    }

    /// The version of the present catalog.
    pub fn version(&self) -> u64 {
        self.catalog.load().version
    }

    /// Makes this the present catalog. Of two who call it at the same time one would lose what it
    /// has done: see the module's head for why there are no two.
    pub fn replace(&self, catalog: Catalog) {
        let version = self.draw();
        self.catalog.store(Arc::new(Catalog { version, ..catalog }));
    }

    /// A library, whose code has not run yet.
    pub fn draft(&self, code: &[u8]) -> Result<Draft, CommandError> {
        Draft::new(self.draw(), code)
    }

    fn draw(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(id: LibraryId, name: &str, functions: &[&str]) -> Arc<Library> {
        let draft = Draft::new(id, format!("#!lua name={name}\nx").as_bytes()).unwrap();
        assert_eq!(draft.body(), b"\nx");
        let registered = functions.iter().map(|name| Registered {
            name: name.as_bytes().to_vec(),
            description: None,
            declared: Declared::default(),
        });
        Arc::new(draft.finish(registered.collect()).unwrap())
    }

    fn error<T>(result: Result<T, CommandError>) -> String {
        result.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn functions_are_found_in_any_case_and_libraries_in_theirs() {
        let catalog =
            Catalog::default().with(&[library(1, "one", &["Get", "set"])], false).unwrap();
        catalog.verify();
        assert_eq!(catalog.find(b"gET").unwrap().index, 0);
        assert_eq!(catalog.find(b"set\0x").unwrap().function().name.as_ref(), "set");
        assert!(catalog.find(b"one").is_none() && catalog.find(b"").is_none());
        assert!(catalog.without(b"ONE").is_none());
        let empty = catalog.without(b"one").unwrap();
        empty.verify();
        assert_eq!((empty.functions(), catalog.functions()), (0, 2));
    }

    #[test]
    fn all_libraries_are_added_or_none() {
        let first = Catalog::default().with(&[library(1, "a", &["f"])], false).unwrap();
        let taken = [library(2, "b", &["g"]), library(3, "a", &["h"])];
        assert_eq!(error(first.with(&taken, false)), "ERR Library a already exists");
        let both = first.with(&taken, true).unwrap();
        both.verify();
        assert_eq!(both.ids(), [2, 3].into_iter().collect());
        assert!(both.find(b"f").is_none());
        let collides = [library(4, "c", &["x", "G"])];
        assert_eq!(error(both.with(&collides, true)), "ERR Function G already exists");
        // What is replaced makes room for its own names in other libraries.
        let swapped = [library(5, "b", &["h"]), library(6, "a", &["g"])];
        both.with(&swapped, true).unwrap().verify();
        both.verify();
        let draft = Draft::new(7, b"#!lua name=a\n").unwrap();
        assert_eq!(error(both.admits(&draft, false)), "ERR Library 'a' already exists");
        both.admits(&draft, true).unwrap();
    }

    #[test]
    fn wrong_functions_make_no_library() {
        let finish = |names: &[&[u8]]| {
            let registered = names.iter().map(|name| Registered {
                name: name.to_vec(),
                description: None,
                declared: Declared::default(),
            });
            Draft::new(1, b"#!lua name=l\n").unwrap().finish(registered.collect())
        };
        assert_eq!(error(finish(&[])), "ERR No functions registered");
        assert_eq!(error(finish(&[b"f", b"F"])), "ERR Function already exists in the library");
        for name in [&b""[..], b"a b", b"a\0", b"\xff"] {
            assert!(error(finish(&[name])).starts_with("ERR Function names can only contain"));
        }
    }

    #[test]
    fn each_catalog_has_its_version() {
        let functions = Functions::default();
        let before = functions.version();
        functions.replace(Catalog::default());
        assert_ne!(functions.version(), before);
        let one = functions.draft(b"#!lua name=l\n").unwrap();
        assert_ne!(one.id, functions.draft(b"#!lua name=l\n").unwrap().id);
    }
}
