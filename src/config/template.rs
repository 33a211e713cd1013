//! `config/crawld.toml` as it ships: each key explained, commented out at its default.

use std::fmt::Write;

use crate::config::{Config, KEYS};

/// What an unset key looks like in the file.
const EXAMPLES: &[(&str, &str)] = &[
    ("state_group", "\"monitoring\""),
    ("max_depth", "5"),
    ("chrome", "\"/usr/bin/chromium\""),
    ("cdp_url", "\"http://127.0.0.1:9222\""),
    ("tabs", "4"),
    ("user_agent", "\"example-bot/1.0 (+https://example.org/bot)\""),
    ("api_tls_cert", "\"/etc/crawld/api.pem\""),
    ("api_tls_key", "\"/etc/crawld/api.key\""),
    ("alert_webhook", "\"https://alerts.example.org/crawld\""),
];

/// The text of the file.
pub fn template() -> String {
    let mut text = String::from(
        "# crawld's configuration. Every key is shown at its default; remove the `#` to change it.\n\
         # Durations: 250ms, 30s, 5m, 12h, 7d; a bare number is seconds.\n\
         # Each key can also be set in the environment: CRAWLD_ and its name in capitals.\n\
         # `crawld config show` prints what is in force and where it came from, `crawld config check` what is wrong.\n",
    );
    let defaults = Config::default();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n\n## {section}\n");
        }
        text.push('\n');
        for line in key.doc {
            let _ = writeln!(text, "# {}", line.trim());
        }
        let shown = key.show(&defaults);
        let example = EXAMPLES.iter().find(|(name, _)| *name == key.name).map_or("", |(_, example)| *example);
        let _ = match shown.is_empty() {
            false => writeln!(text, "#{} = {shown}", key.name),
            true => writeln!(text, "# (unset) for example:\n#{} = {example}", key.name),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_code_does() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/crawld.toml");
        if std::env::var_os("UPDATE_TEMPLATE").is_some() {
            std::fs::write(path, template()).unwrap();
        }
        let shipped = std::fs::read_to_string(path).unwrap();
        assert_eq!(shipped, template(), "write it anew: UPDATE_TEMPLATE=1 cargo test --lib config::template");
    }

    #[test]
    fn every_key_is_explained_and_every_shown_default_is_the_default() {
        let text = template();
        let shown: String = text
            .split("\n\n")
            .filter(|block| !block.contains("# (unset)"))
            .flat_map(str::lines)
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(toml::from_str::<Config>(&shown).unwrap(), Config::default());
        for key in KEYS {
            assert!(text.contains(&format!("\n#{} = ", key.name)), "{}", key.name);
            assert!(key.doc.iter().all(|line| line.trim().len() > 10), "{}", key.name);
        }
    }
}
