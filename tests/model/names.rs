//! Holds the names of the model to the sources.

use std::fs;
use std::path::Path;

use crate::action::Action;

#[test]
fn every_step_is_named_after_functions_that_exist() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut functions = 0;
    for action in Action::ALL {
        for (file, function) in action.functions() {
            let text = fs::read_to_string(sources.join(file)).expect(file);
            let declared = format!("fn {function}");
            let declares = |line: &str| {
                let rest = line.split(&declared).nth(1);
                rest.is_some_and(|rest| rest.starts_with(['(', '<']))
            };
            assert!(text.lines().any(declares), "{file} has no {function}, which {action:?} names");
            functions += 1;
        }
    }
    assert!(functions > 20, "only {functions} functions are named");
}
