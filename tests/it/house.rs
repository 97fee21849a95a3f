//! The house: each room names only the rooms below it, and some crates stay in their rooms.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up. A room names rooms of its own floor's number or below.
const FLOORS: &[(&str, usize)] = &[
    ("types", 0),
    ("fail_point", 0),
    ("codec", 1),
    ("event", 2),
    ("block", 2),
    ("state", 3),
    ("mempool", 3),
    ("plan", 3),
    ("pace", 4),
    ("recovery", 3),
    ("diff", 4),
    ("machine", 4),
    ("store", 5),
    ("telemetry", 3),
    ("exec", 6),
    ("generate", 7),
    ("import", 7),
    ("audit", 8),
    ("conformance", 8),
    ("reproduce", 9),
    ("node", 10),
    ("http", 11),
    ("load", 11),
    ("torture", 11),
    ("cli", 12),
];

/// Crates that only these rooms may name.
const KEPT: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("revm", &["machine/evm"]),
    ("anyhow", &["cli", "main.rs"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("tokio", &["node", "http", "load", "cli"]),
    ("axum", &["http"]),
    ("hyper", &["http", "load"]),
    ("metrics", &["telemetry"]),
];

fn source_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the lines of code of every source file, tests and comments left out, by its path below `src`.
fn sources() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&root).expect("below src").display().to_string();
            let text = fs::read_to_string(file).expect("a source file");
            let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
            let code = code.filter(|line| !line.trim_start().starts_with("//"));
            (name, code.map(str::to_owned).collect())
        })
        .collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn room_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (file, lines) in sources() {
        let room = room_of(&file);
        if room == "lib" || room == "main" || file.ends_with("tests.rs") {
            continue;
        }
        let own = floor(room).unwrap_or_else(|| panic!("{file} is in no room of this test"));
        for line in &lines {
            for named in line.split("crate::").skip(1) {
                let named = named.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let Some(other) = named.and_then(floor) else { continue };
                if other > own || (other == own && named != Some(room) && own > 5) {
                    wrong.push(format!("{file}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these imports point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn some_crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (file, lines) in sources() {
        for (name, rooms) in KEPT {
            if rooms.iter().any(|room| file.starts_with(room)) {
                continue;
            }
            let used = lines.iter().find(|line| {
                line.contains(&format!("{name}::")) && !line.contains(&format!("_{name}::"))
            });
            wrong.extend(used.map(|line| format!("{file}: {}", line.trim())));
        }
    }
    assert!(wrong.is_empty(), "these crates are named outside their rooms:\n{}", wrong.join("\n"));
}

#[test]
fn the_program_speaks_of_nothing_unfinished() {
    for (file, lines) in sources() {
        for word in ["TODO", "FIXME", "XXX", "unimplemented!", "todo!"] {
            assert!(lines.iter().all(|line| !line.contains(word)), "{file} holds {word}");
        }
    }
}
