//! What `--help` says, held by snapshots.

use std::process::Command;

fn help(verb: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_burnin"))
        .args(verb)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{verb:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(help(&[]));
}

#[test]
fn help_of_each_verb() {
    for verb in ["run", "sweep", "replay", "meta", "scenario", "zoo", "doctor"] {
        insta::assert_snapshot!(verb, help(&[verb]));
    }
    for verb in ["lint", "list", "schema", "resolve"] {
        insta::assert_snapshot!(format!("scenario_{verb}"), help(&["scenario", verb]));
    }
}

#[test]
fn every_flag_has_an_environment_variable() {
    for verb in [
        &["run"][..],
        &["sweep"],
        &["replay"],
        &["meta"],
        &["zoo"],
        &["doctor"],
        &["scenario", "list"],
        &["scenario", "resolve"],
    ] {
        let text = help(verb);
        let mut options: Vec<String> = Vec::new();
        for line in text.lines() {
            match line.trim_start().starts_with('-') && line.contains("--") {
                true => options.push(line.to_owned()),
                false => options.iter_mut().last().into_iter().for_each(|option| option.push_str(line)),
            }
        }
        assert!(options.len() > 4, "{verb:?}: {options:?}");
        for option in options.iter().filter(|option| !option.contains("--help")) {
            assert!(option.contains("[env: BURNIN_"), "{verb:?}: no environment variable: {option}");
        }
    }
}
