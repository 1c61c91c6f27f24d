//! Budgets: what may be spent in a window of time.

use super::*;

fn budget(lines: &str) -> Sources {
    file(&format!("[[budgets]]\n{lines}"))
}

#[test]
fn budgets_are_read_in_the_order_of_the_file() {
    let text = r#"
[[budgets]]
name = "day"
window = "1d"
max_cost = "12.50"

[[budgets]]
name = "large"
window = "1h"
max_tokens = 1_000_000
model = "mistral-large-latest"

[[budgets]]
name = "month"
window = "30d"
max_tokens = 5
max_cost = 0
provider = "mistral"
"#;
    let config = Config::load(&file(text)).expect("all values are right");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let expected = [
        Budget {
            name: "day".into(),
            window: hours(24),
            max_tokens: None,
            max_cost: Some("12.5".parse().expect("a number")),
            covers: Covers::All,
        },
        Budget {
            name: "large".into(),
            window: hours(1),
            max_tokens: Some(1_000_000),
            max_cost: None,
            covers: Covers::Model("mistral-large-latest".into()),
        },
        Budget {
            name: "month".into(),
            window: hours(720),
            max_tokens: Some(5),
            max_cost: Some("0".parse().expect("a number")),
            covers: Covers::Provider("mistral".into()),
        },
    ];
    assert_eq!(config.budgets, expected);
    assert_eq!(Config::load(&file("budgets = []")).expect("none").budgets, []);
}

#[test]
fn faults_of_a_budget_name_line_and_key() {
    let whole = "name = \"a\"\nwindow = \"1h\"\nmax_tokens = 1\n";
    let cases = [
        (
            budget("name = \"a\"\nmax_tokens = 1"),
            "budgets[0] (causerie.toml, line 1) has no window, which must be a duration",
        ),
        (
            budget("window = \"1h\"\nmax_tokens = 1"),
            "budgets[0] (causerie.toml, line 1) has no name, which must be 1 to 64",
        ),
        (
            budget("name = \"a\"\nwindow = \"1h\""),
            "budgets[0] (causerie.toml, line 1) has neither max_tokens nor max_cost",
        ),
        (
            budget("name = \"a\"\nwindow = \"1s\"\nmax_tokens = 1"),
            "budgets[0].window (causerie.toml, line 3) is \"1s\"; it must be a duration from 1m to 366d",
        ),
        (
            budget("name = \"a\"\nwindow = \"1h\"\nmax_tokens = 0"),
            "budgets[0].max_tokens (causerie.toml, line 4) is \"0\"; it must be a whole number from 1",
        ),
        (
            budget("name = \"a\"\nwindow = \"1h\"\nmax_cost = 0.00001"),
            "budgets[0].max_cost (causerie.toml, line 4) is \"0.00001\"; it must be an amount of US dollars",
        ),
        (
            budget(&format!("{whole}model = \"m\"\nprovider = \"mistral\"")),
            "budgets[0].provider (causerie.toml, line 6) cannot be set beside model",
        ),
        (
            budget(&format!("{whole}provider = \"mistrl\"")),
            "budgets[0].provider (causerie.toml, line 5) is \"mistrl\", which is not configured; mistral is",
        ),
        (
            budget(&format!("{whole}[[budgets]]\n{whole}")),
            "budgets[1].name (causerie.toml, line 6) is \"a\", which another budget is called, too",
        ),
        (
            budget("name = \"tree\"\nwindow = \"1h\"\nmax_tokens = 1"),
            "budgets[0].name (causerie.toml, line 2) is \"tree\", as errors call the budget of a tree",
        ),
        (
            budget(&format!("{whole}max_token = 1")),
            "budgets[0].max_token (causerie.toml, line 5) is not a setting; the nearest one is budgets[0].max_tokens",
        ),
        (
            file("[budgets]\nname = \"a\""),
            "budgets (causerie.toml, line 1) is a list of sections: write [[budgets]] on a line",
        ),
        (file("budgets = [1]"), "budgets (causerie.toml, line 1) is a list of sections: write [[budgets]] on a line"),
    ];
    for (sources, start) in cases {
        let found = faults(sources);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
    }
}
