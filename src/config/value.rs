//! How a setting reads from an environment variable or a flag, and prints as TOML.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::conduct::ApiGrant;
use crate::model::duration::Span;
use crate::model::task::{FetchMode, RobotsPolicy, ScopePreset};
use crate::model::text::escape_control;
use crate::telemetry::LogFormat;

/// A type that a setting can have.
pub trait Value: Serialize + DeserializeOwned {
    /// Reads the text of an environment variable or flag.
    ///
    /// # Errors
    /// What was expected, as a sentence.
    fn from_text(text: &str) -> Result<Self, String>;

    /// As it stands in a TOML file; `None` where the file would leave the key out.
    fn to_toml(&self) -> Option<toml::Value> {
        toml::Value::try_from(self).ok()
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", escape_control(text))
}

impl Value for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" | "" => Ok(false),
            other => Err(format!("{} is neither true nor false (1 and 0 are accepted too)", quoted(other))),
        }
    }
}

macro_rules! whole_number {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                let digits: String = text.trim().chars().filter(|c| *c != '_').collect();
                digits.parse().map_err(|_| format!("{} is not a whole number from 0 to {}", quoted(text), <$type>::MAX))
            }
        }
    )+};
}
whole_number!(u32, u64);

impl Value for Span {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Value for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty: write a path".to_owned()) } else { Ok(PathBuf::from(text)) }
    }
}

impl<T: Value> Value for Option<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::to_toml)
    }
}

impl Value for Vec<Span> {
    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| part.parse::<Span>()).collect()
    }
}

impl Value for Vec<String> {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}

impl Value for Vec<ApiGrant> {
    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ApiGrant::from_text).collect()
    }
}

macro_rules! word {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                <$type>::parse(text.trim()).ok_or_else(|| {
                    let words: Vec<&str> = <$type>::ALL.iter().map(|word| word.as_str()).collect();
                    format!("{} is not one of: {}", quoted(text), words.join(", "))
                })
            }
        }
    )+};
}
word!(LogFormat, ApiGrant, FetchMode, RobotsPolicy, ScopePreset);
