//! Builds the Lua 5.1.5 beside this file, with the interface that `mlua-sys` expects of `lua-src`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

pub use Version::Lua51;

/// The versions of Lua that can be built.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    /// 5.1.5.
    Lua51,
}

/// What builds Lua.
#[derive(Debug, Default)]
pub struct Build;

/// What was built.
#[derive(Debug)]
pub struct Artifacts {
    library_dir: PathBuf,
}

impl Build {
    /// A build with the settings of the running build script.
    pub fn new() -> Self {
        Self
    }

    /// Compiles the sources into the build script's `OUT_DIR`.
    ///
    /// # Panics
    ///
    /// When it cannot: that is how a build script ends.
    pub fn build(&self, version: Version) -> Artifacts {
        let Version::Lua51 = version;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua-5.1.5");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("only build scripts build Lua"));
        let library_dir = out.join("lib");
        let mut build = cc::Build::new();
        for entry in fs::read_dir(&sources).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.extension().is_some_and(|extension| extension == "c") {
                build.file(path);
            }
        }
        build
            .include(&sources)
            .define("LUA_USE_LINUX", None)
            .warnings(false)
            .cargo_metadata(false)
            .flag_if_supported("-fno-common")
            .out_dir(&library_dir)
            .compile("lua5.1");
        Artifacts { library_dir }
    }
}

impl Artifacts {
    /// Tells cargo what to link.
    pub fn print_cargo_metadata(&self) {
        println!("cargo:rerun-if-changed={}", env!("CARGO_MANIFEST_DIR"));
        println!("cargo:rustc-link-search=native={}", self.library_dir.display());
        println!("cargo:rustc-link-lib=static=lua5.1");
    }
}
