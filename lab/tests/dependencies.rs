//! What imports what: each crate brings the crates that it may, and in no crate do modules import
//! each other.
//!
//! Modules are files, read as text: their `use` trees and the paths in them that begin with
//! `crate`, `self` or `super`, up to their tests. A name that a module hands on counts for the
//! module that defines it. A module and those inside it are one house: between them any arrow is
//! fine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use regex::Regex;

/// What crates may bring of the workspace's. The others, at the top, bring what they like.
const MAY_BRING: &[(&str, &[&str])] = &[
    ("flags", &[]),
    ("model", &[]),
    ("resources", &[]),
    ("proto", &["model"]),
    ("store", &["model"]),
    ("engine", &["model", "store"]),
    ("checker", &["flags"]),
    ("clocks", &["flags"]),
    ("report", &["flags", "resources"]),
    ("kvs-server", &["engine", "flags", "model", "proto", "resources", "store"]),
];
/// What the client library may bring of them.
const LIBRARY_MAY_BRING: &[&str] = &["model", "proto"];
/// What only the load generator brings. `tracing-subscriber` is not among it: tarpc brings it, for
/// its OpenTelemetry.
const GENERATOR_BRINGS: &[&str] = &[
    "anyhow",
    "clap",
    "comfy-table",
    "hdrhistogram",
    "indicatif",
    "plotters",
    "redis",
    "serde_json",
    "sysinfo",
];

type Tested = Result<(), Failed>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = crates(&root);
    let all: Vec<String> = crates.keys().cloned().collect();
    let ours = all.clone();
    let mut trials = vec![
        Trial::test("the client library alone brings little", move || library_alone(&ours)),
        Trial::test("the load generator brings what the library does not", generator_brings_them),
        Trial::test("modules that import each other are found", circles_are_found),
        Trial::test("modules that do not are fine", other_arrows_are_fine),
    ];
    for (name, may) in MAY_BRING.iter().filter(|(name, _)| crates.contains_key(*name)) {
        let all = all.clone();
        let test = move || brings_no_other(name, may, &all);
        trials.push(Trial::test(format!("{name} brings what it may"), test));
    }
    for (name, folder) in crates {
        let test = move || no_circles(&folder);
        trials.push(Trial::test(format!("no modules of {name} import each other"), test));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The crates in a folder, by their names, which are those of their folders.
fn crates(root: &Path) -> BTreeMap<String, PathBuf> {
    let folders = fs::read_dir(root).expect("the workspace can be read");
    let folders = folders.map(|folder| folder.expect("the workspace can be read").path());
    let crates = folders.filter(|folder| folder.join("Cargo.toml").is_file());
    crates
        .map(|folder| (folder.file_name().unwrap().to_string_lossy().into_owned(), folder))
        .collect()
}

/// The names of all crates that a package depends on.
fn brought(package: &str, flags: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package])
        .args(flags)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    text.lines().skip(1).filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn none_of<'a>(forbidden: impl Iterator<Item = &'a str>, brought: &BTreeSet<String>) -> Tested {
    let found: Vec<&str> = forbidden.filter(|name| brought.contains(*name)).collect();
    if found.is_empty() { Ok(()) } else { Err(format!("it brings {}", found.join(", ")).into()) }
}

fn brings_no_other(name: &str, may: &[&str], all: &[String]) -> Tested {
    let others = all.iter().map(String::as_str).filter(|other| *other != name);
    none_of(others.filter(|other| !may.contains(other)), &brought(name, &[]))
}

fn library_alone(all: &[String]) -> Tested {
    let library = brought("kvs-client", &["--no-default-features"]);
    none_of(GENERATOR_BRINGS.iter().copied(), &library)?;
    let all = all.iter().map(String::as_str);
    none_of(all.filter(|name| !LIBRARY_MAY_BRING.contains(name)), &library)
}

/// The twin: what the library has not can be found.
fn generator_brings_them() -> Tested {
    let generator = brought("kvs-client", &[]);
    for name in GENERATOR_BRINGS {
        none_of([*name].into_iter(), &generator).expect_err(name);
    }
    Ok(())
}

/// A module's path in its crate; the root's is empty.
type Module = Vec<String>;

/// The modules of a crate, with what stands in their files, comments and tests left out.
struct Modules {
    texts: BTreeMap<Module, String>,
    /// What each module hands on: a name, and where it is from.
    handed_on: BTreeMap<(Module, String), Module>,
}

/// A module that imports another one, and the names that it imports.
type Arrows = BTreeMap<(Module, Module), BTreeSet<String>>;

impl Modules {
    fn read(source: &Path) -> Self {
        let comment = Regex::new(r"(?m)(^|\s)//.*").unwrap();
        let tests = Regex::new(r"(?s)#\[cfg\(test\)\]\s*mod \w+ \{.*").unwrap();
        let mut texts = BTreeMap::new();
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the sources can be read") {
                let path = entry.expect("the sources can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(module) = module_of(source, &path) {
                    let text = fs::read_to_string(&path).expect("sources are text");
                    let text = comment.replace_all(&text, "");
                    texts.insert(module, tests.replace(&text, "").into_owned());
                }
            }
        }
        let mut modules = Self { texts, handed_on: BTreeMap::new() };
        let public = Regex::new(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);").unwrap();
        for (module, text) in &modules.texts {
            for tree in public.captures_iter(text) {
                for (path, name) in expanded(&tree[1]) {
                    let from = modules.absolute(module, &path);
                    modules.handed_on.insert((module.clone(), name), from);
                }
            }
        }
        modules
    }

    /// A path as it is read in `here`, from the crate's root.
    fn absolute(&self, here: &[String], path: &str) -> Module {
        let mut segments = path.split("::").map(str::trim).peekable();
        let mut module = here.to_vec();
        if segments.next_if_eq(&"crate").is_some() {
            module.clear();
        }
        segments.next_if_eq(&"self");
        while segments.next_if_eq(&"super").is_some() {
            module.pop();
        }
        module.extend(segments.map(str::to_owned));
        module
    }

    /// The module that a path leads to, with the rest of the path.
    fn target(&self, mut path: Module) -> (Module, String) {
        loop {
            let lengths = (0..=path.len()).rev();
            let mut known = lengths.filter(|length| self.texts.contains_key(&path[..*length]));
            let length = known.next().expect("the root is a module");
            let (module, rest) = path.split_at(length);
            let name = rest.first().cloned().unwrap_or_default();
            let from = self.handed_on.get(&(module.to_vec(), name));
            match from.filter(|from| **from != path[..=length]) {
                Some(from) => path = [from, &rest[1..]].concat(),
                None => return (module.to_vec(), rest.join("::")),
            }
        }
    }

    /// All imports from house to house.
    fn arrows(&self) -> Arrows {
        let uses = Regex::new(r"\buse\s+([^;]+);").unwrap();
        let paths = Regex::new(r"\b(?:crate|self|super)(?:::\w+)+").unwrap();
        let mut arrows = Arrows::new();
        for (here, text) in &self.texts {
            let used = uses.captures_iter(text).flat_map(|tree| expanded(&tree[1]));
            let named = paths.find_iter(text).map(|path| path.as_str().to_owned());
            for path in used.map(|(path, _)| path).chain(named) {
                let (there, name) = self.target(self.absolute(here, &path));
                if !here.starts_with(&there) && !there.starts_with(here) {
                    let name = if name.is_empty() { there.last().unwrap().clone() } else { name };
                    arrows.entry((here.clone(), there)).or_default().insert(name);
                }
            }
        }
        arrows
    }
}

/// The module whose file it is; `None` for other files, and for the program beside a library.
fn module_of(source: &Path, path: &Path) -> Option<Module> {
    let path = path.strip_prefix(source).expect("it was found there").with_extension("");
    let mut module: Module =
        path.iter().map(|segment| segment.to_string_lossy().into_owned()).collect();
    match module.last()?.as_str() {
        "main" if source.join("lib.rs").is_file() => return None,
        "mod" | "lib" | "main" => _ = module.pop(),
        _ => {}
    }
    Some(module)
}

/// The paths of a `use` tree, each with the name by which it is then known.
fn expanded(tree: &str) -> Vec<(String, String)> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let path = path.trim().trim_end_matches("::self").to_owned();
        let name = name.trim_end_matches("::self").rsplit("::").next().unwrap_or_default();
        return vec![(path, name.trim().to_owned())];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let parts = group.split(|letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    let parts: Vec<&str> = parts.filter(|part| !part.trim().is_empty()).collect();
    parts.iter().flat_map(|part| expanded(&format!("{head}{}", part.trim()))).collect()
}

/// The arrows that lie in circles, a line each.
fn circles(arrows: &Arrows) -> Vec<String> {
    let reaches = |from: &Module, to: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(arrows.keys().filter(|(from, _)| from == module).map(|(_, to)| to));
            }
        }
        seen.contains(to)
    };
    let circling = arrows.iter().filter(|((from, to), _)| reaches(to, from));
    let line = |((from, to), names): (&(Module, Module), &BTreeSet<String>)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{} -> {}: {}", from.join("::"), to.join("::"), names.join(", "))
    };
    circling.map(line).collect()
}

fn no_circles(folder: &Path) -> Tested {
    let circles = circles(&Modules::read(&folder.join("src")).arrows());
    if circles.is_empty() { Ok(()) } else { Err(circles.join("\n").into()) }
}

/// The circles in a made-up crate.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    circles(&Modules::read(folder.path()).arrows())
}

fn circles_are_found() -> Tested {
    let by_use = circles_of(&[
        ("lib.rs", "mod a;\nmod b;"),
        ("a.rs", "use crate::{\n    b::{One, inner::{self, Two as Other}},\n};"),
        ("b/mod.rs", "pub(crate) mod inner;"),
        ("b/inner.rs", "fn f() { super::super::a::g(); }"),
    ]);
    assert_eq!(by_use, ["a -> b::inner: Two, inner", "b::inner -> a: g"]);
    let by_handing_on = circles_of(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::Name;"),
        ("a.rs", "use crate::b::Thing;"),
        ("b/mod.rs", "mod thing;\npub(crate) use thing::{Other, Thing};"),
        ("b/thing.rs", "use crate::c;"),
        ("c.rs", "use std::fmt;\nuse crate::Name;"),
    ]);
    let expected = ["a -> b::thing: Thing", "b::thing -> c: c", "c -> a: Name"];
    assert_eq!(by_handing_on, expected);
    Ok(())
}

fn other_arrows_are_fine() -> Tested {
    let found = circles_of(&[
        ("lib.rs", "mod a;\nmod b;\npub use a::Name;"),
        ("main.rs", "use crate::b;"),
        ("a.rs", "use crate::b::{One, Two};\n/// [`crate::b`]\nfn f() {}"),
        ("b/mod.rs", "mod inner;\nuse inner::Three; // crate::a\n"),
        ("b/inner.rs", "use super::One;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n"),
    ]);
    assert_eq!(found, Vec::<String>::new());
    Ok(())
}
