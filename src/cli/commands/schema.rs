//! `crawld schema WHAT`: JSON Schemas of everything that is read or written.

use clap::Args;
use schemars::{Schema, schema_for};

use crate::cli::{Outcome, out, words};
use crate::config::Config;
use crate::daemon::answers;
use crate::exit_code::ExitCode;
use crate::model::checkpoint::Checkpoint;
use crate::model::heartbeat::Heartbeat;
use crate::model::record::{PageRecord, UrlRecord};
use crate::model::task::TaskSpec;

/// A name, with the type behind it.
type Named = (&'static str, fn() -> Schema);

const SCHEMAS: &[Named] = &[
    ("checkpoint", || schema_for!(Checkpoint)),
    ("heartbeat", || schema_for!(Heartbeat)),
    ("page", || schema_for!(PageRecord)),
    ("url", || schema_for!(UrlRecord)),
    ("task", || schema_for!(TaskSpec)),
    ("config", || schema_for!(Config)),
    ("session", || schema_for!(answers::SessionDetail)),
    ("recovery", || schema_for!(answers::RecoveryReport)),
];

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// Of what
    #[arg(value_parser = words(SCHEMAS.iter().map(|(name, _)| *name)))]
    what: String,
}

pub(in crate::cli) fn run(args: &SchemaArgs) -> Outcome {
    for (name, schema) in SCHEMAS {
        if *name == args.what {
            out::json(&schema())?;
        }
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_describes_its_top_level_fields() {
        for (name, schema) in SCHEMAS {
            let schema = serde_json::to_value(schema()).unwrap();
            let fields = schema["properties"].as_object().unwrap_or_else(|| panic!("{name}"));
            assert!(!fields.is_empty(), "{name}");
            assert_eq!(schema["type"], "object", "{name}");
        }
    }
}
