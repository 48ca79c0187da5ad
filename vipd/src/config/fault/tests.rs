use super::*;

fn faults(text: &str) -> (Faults, SourceId) {
    let mut faults = Faults::default();
    let id = faults.add_source("vipd.toml".as_ref(), text.to_owned());
    (faults, id)
}

#[test]
fn what_is_hidden_is_not_shown_and_nothing_moves() {
    let (mut faults, id) = faults("a = 1\npassword = \"gehe\u{ef}m\" # x\n");
    faults.hide(id, 17..26);
    faults.error(&Place::Text(id, 6..14), "no", "never");
    let said = faults.to_string();
    assert!(said.contains("2 | password = ********* # x"), "{said}");
    assert!(!said.contains("gehe"));
}

#[test]
fn a_fault_has_a_line_and_a_column_of_characters() {
    let (mut faults, id) = faults("\u{e9} = 1\n\u{e9}\u{e9} = 2\n");
    for (span, position) in [(0..2, (1, 1)), (12..13, (2, 4)), (16..16, (3, 1))] {
        faults.error(&Place::Text(id, span), "found", "allowed");
        let fault = faults.iter().last().expect("it was noted");
        assert_eq!(faults.position(fault), Some(("vipd.toml", Some(position))));
    }
    let line = faults.line(faults.iter().next().expect("it was noted"));
    assert_eq!(line, "vipd.toml:1: found: allowed");
}

#[test]
fn no_more_are_shown_than_help() {
    let (mut faults, id) = faults("a");
    for _ in 0..60 {
        faults.error(&Place::Text(id, 0..1), "found", "allowed");
    }
    let said = faults.to_string();
    assert_eq!(said.matches("error: found").count(), 50);
    assert!(said.ends_with("\nand 10 more\n"), "{said}");
}
