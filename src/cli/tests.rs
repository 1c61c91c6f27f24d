use super::*;
use crate::config::Config;

fn parsed(line: &str) -> Result<Command, clap::Error> {
    let matches = definition().try_get_matches_from(line.split(' '))?;
    let line = CommandLine::from_arg_matches(&matches)?;
    Ok(line.command.unwrap_or(Command::Serve(line.serve)))
}

fn help(line: &str) -> String {
    parsed(line).expect_err("help is given as an error").to_string()
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}

#[test]
fn serve_is_what_happens_without_a_command() {
    for line in
        ["causerie", "causerie --offline", "causerie serve --offline", "causerie --listen 127.0.0.1:1 --offline"]
    {
        assert!(matches!(parsed(line), Ok(Command::Serve(_))), "{line}");
    }
    assert!(matches!(parsed("causerie chat --model m"), Ok(Command::Chat(_))));
    assert!(matches!(parsed("causerie providers --offline --log-level off"), Ok(Command::Providers(_))));
    assert!(matches!(parsed("causerie export -o x"), Ok(Command::Export(_))));
    assert!(matches!(parsed("causerie import -"), Ok(Command::Import(_))));
}

#[test]
fn flags_of_serve_reach_the_configuration() {
    let line = "causerie serve --offline --store-sync=false --store-cache-mib 32 --listen 127.0.0.1:9";
    let Ok(Command::Serve(args)) = parsed(line) else { panic!("it is serve") };
    let config = args.config().expect("the flags are right");
    assert!(config.offline && !config.store.sync);
    assert_eq!((config.store.cache_bytes, config.listen.port()), (32 << 20, 9));
}

#[test]
fn what_is_not_understood_exits_with_2() {
    for line in ["causerie sevre", "causerie --ofline", "causerie import", "causerie chat a b"] {
        assert_eq!(parsed(line).expect_err("it is wrong").exit_code(), 2, "{line}");
    }
}

#[test]
fn help_teaches_the_first_steps() {
    let text = help("causerie --help");
    for part in
        ["immutable version", "causerie --offline", "MISTRAL_API_KEY", "API_KEY_MISSING", "Exit codes: 0", "chat"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("--store-cache-mib"), "the settings bury the commands:\n{text}");
}

#[test]
fn the_help_of_serve_names_every_setting_three_ways() {
    let text = help("causerie serve --help");
    for row in Config::describe() {
        for part in [&row.flag, &row.variable] {
            assert!(text.contains(part.as_str()), "{part} is not in the help");
        }
    }
    assert!(text.contains("CAUSERIE_CONFIG") && text.contains("[store]"), "{text}");
}

#[test]
fn the_help_of_providers_is_not_buried_under_settings() {
    let text = help("causerie providers --help");
    for part in ["--config", "--offline", "every flag of `causerie serve`", "Exit codes: 0"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("--store-cache-mib"), "{text}");
}

#[test]
fn the_help_of_chat_says_how_it_works_in_a_pipe() {
    let text = help("causerie chat --help");
    for part in ["In a pipe", "exit code 1", "CAUSERIE_SERVER", "CAUSERIE_MODEL", "/help", "--agent"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}
