//! What the documents say is what there is.

use std::path::Path;

use crate::cli::program;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_quotes_the_example_and_it_is_short() {
    let example = read("examples/embed.rs");
    assert!(read("README.md").contains(&format!("```rust\n{example}```")), "it quotes another one");
    assert!(example.lines().count() < 80, "{} lines", example.lines().count());
}

#[test]
fn the_readme_lists_every_command() {
    let help = program().arg("--help").output().expect("the program runs").stdout;
    let help = String::from_utf8(help).expect("text");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let readme = read("README.md");
    let mut found = 0;
    for command in commands.filter(|command| *command != "help") {
        let named = readme
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("`{command}")));
        assert!(named, "the README does not list {command}");
        found += 1;
    }
    assert!(found >= 15, "{found} commands in {help}");
}
