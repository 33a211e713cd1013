//! Fields by CSS selector: the only part that needs a whole document tree.

use std::collections::BTreeMap;

use scraper::{ElementRef, Html, Selector};

use super::cost::too_costly;
use super::text::Folded;
use crate::model::task::ExtractSpec;

/// Values kept per field.
const MAX_VALUES: usize = 1000;

/// Bytes kept of one value.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Bytes kept of all values of a page.
const MAX_TOTAL_BYTES: usize = 1 << 20;

/// A field that cannot be extracted as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The selector does not parse.
    #[error("extract.fields.{name}: `{selector}` is not a CSS selector: {reason}")]
    Selector {
        /// The field.
        name: String,
        /// Its selector.
        selector: String,
        /// What the parser says.
        reason: String,
    },
    /// The attribute cannot be an attribute's name.
    #[error("extract.fields.{name}: `{attribute}` is not an attribute name")]
    Attribute {
        /// The field.
        name: String,
        /// The attribute asked for.
        attribute: String,
    },
}

/// The compiled fields of a task.
#[derive(Debug)]
pub struct FieldSelectors {
    fields: Vec<(String, Selector, Option<String>)>,
}

impl FieldSelectors {
    /// Compiles every field.
    ///
    /// # Errors
    /// The first field whose selector or attribute cannot be used.
    pub fn compile(spec: &ExtractSpec) -> Result<Self, FieldError> {
        let compiled = spec.fields.iter().map(|(name, field)| {
            let (selector, attribute) = field.parts();
            let parsed = Selector::parse(selector).map_err(|fault| FieldError::Selector {
                name: name.clone(),
                selector: selector.escape_debug().to_string(),
                reason: fault.to_string(),
            })?;
            if let Some(attribute) = attribute.filter(|a| !is_attribute_name(a)) {
                let attribute = attribute.escape_debug().to_string();
                return Err(FieldError::Attribute { name: name.clone(), attribute });
            }
            Ok((name.clone(), parsed, attribute.map(str::to_ascii_lowercase)))
        });
        Ok(FieldSelectors { fields: compiled.collect::<Result<_, _>>()? })
    }

    /// Every match's text or attribute, in document order, and whether something was cut.
    pub fn select(&self, html: &str) -> (BTreeMap<String, Vec<String>>, bool) {
        let mut found: BTreeMap<String, Vec<String>> =
            self.fields.iter().map(|(name, ..)| (name.clone(), Vec::new())).collect();
        if self.fields.is_empty() || too_costly(html) {
            return (found, !self.fields.is_empty());
        }
        let document = Html::parse_document(html);
        let (mut room, mut cut) = (MAX_TOTAL_BYTES, false);
        for (name, selector, attribute) in &self.fields {
            let values = found.entry(name.clone()).or_default();
            for element in document.select(selector) {
                if values.len() == MAX_VALUES || room == 0 {
                    cut = true;
                    break;
                }
                if let Some((value, value_cut)) = value_of(element, attribute.as_deref(), room.min(MAX_VALUE_BYTES)) {
                    cut |= value_cut;
                    room -= value.len();
                    values.push(value);
                }
            }
        }
        (found, cut)
    }
}

fn value_of(element: ElementRef<'_>, attribute: Option<&str>, limit: usize) -> Option<(String, bool)> {
    if let Some(attribute) = attribute {
        let value = element.value().attr(attribute)?;
        let end = value.floor_char_boundary(limit);
        return Some((value[..end].to_owned(), end < value.len()));
    }
    let mut folded = Folded::new(limit);
    for piece in element.text() {
        folded.push(piece);
        if folded.is_cut() {
            break;
        }
    }
    let cut = folded.is_cut();
    Some((folded.into_string(), cut))
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'>/=<".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::FieldSpec;

    fn spec(fields: &[(&str, &str, Option<&str>)]) -> ExtractSpec {
        let fields = fields.iter().map(|(name, selector, attribute)| {
            let selector = (*selector).to_owned();
            let field = match attribute {
                Some(attribute) => FieldSpec::Attribute { selector, attribute: (*attribute).to_owned() },
                None => FieldSpec::Selector(selector),
            };
            ((*name).to_owned(), field)
        });
        ExtractSpec { fields: fields.collect(), ..ExtractSpec::default() }
    }

    #[test]
    fn selects_text_and_attributes() {
        let spec = spec(&[("h", "h1", None), ("img", "p > img:first-child", Some("SRC")), ("none", ".x", None)]);
        let html = "<h1> A <b>b</b>\n c</h1><p><img src=1.png><img src=2.png></p><h1>D</h1>";
        let (found, cut) = FieldSelectors::compile(&spec).unwrap().select(html);
        assert!(!cut);
        assert_eq!(found["h"], ["A b c", "D"]);
        assert_eq!(found["img"], ["1.png"]);
        assert!(found["none"].is_empty());
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let fault = FieldSelectors::compile(&spec(&[("good", "a", None), ("price", "div[", None)])).unwrap_err();
        assert!(fault.to_string().starts_with("extract.fields.price: `div[` is not a CSS selector"), "{fault}");
        let fault = FieldSelectors::compile(&spec(&[("img", "img", Some("a b"))])).unwrap_err();
        assert_eq!(fault.to_string(), "extract.fields.img: `a b` is not an attribute name");
    }

    #[test]
    fn bounds_values() {
        let many = "<i>x</i>".repeat(MAX_VALUES + 1);
        let (found, cut) = FieldSelectors::compile(&spec(&[("i", "i", None)])).unwrap().select(&many);
        assert_eq!((found["i"].len(), cut), (MAX_VALUES, true));
        let large = format!("<p title='{0}'>{0}</p>", "y".repeat(MAX_VALUE_BYTES + 1));
        let both = spec(&[("a", "p", Some("title")), ("t", "p", None)]);
        let (found, cut) = FieldSelectors::compile(&both).unwrap().select(&large);
        assert_eq!((found["a"][0].len(), found["t"][0].len(), cut), (MAX_VALUE_BYTES, MAX_VALUE_BYTES, true));
    }
}
