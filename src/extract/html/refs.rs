//! What the elements of a document refer to.

use super::Page;
use super::tokens::Tag;
use crate::policy::hints::{javascript, leads_somewhere, refresh_target, script_targets, srcset_targets};

/// Documents in `srcdoc` attributes that are looked into, per page.
const SRCDOCS_MOST: usize = 50;
/// Bytes of all of them together.
const SRCDOC_BYTES: usize = 1 << 20;

/// Attributes with an address of a resource, by element; `srcset` and `link` are seen to apart.
const RESOURCES: [(&str, &str); 13] = [
    ("img", "src"),
    ("source", "src"),
    ("video", "src"),
    ("video", "poster"),
    ("audio", "src"),
    ("track", "src"),
    ("embed", "src"),
    ("object", "data"),
    ("script", "src"),
    ("input", "src"),
    ("image", "href"),
    ("image", "xlink:href"),
    ("body", "background"),
];

impl Page {
    /// Takes the references of an element that may lead to pages, and those to resources where asked.
    pub(super) fn references(&mut self, tag: &Tag<'_>) {
        match tag.name {
            "a" | "area" => {
                let href = tag.attribute("href");
                let drawn = self.drawings > 0 && href.is_none();
                self.link(if drawn { tag.attribute("xlink:href") } else { href });
            }
            "frame" => self.link(tag.attribute("src")),
            "iframe" => {
                self.link(tag.attribute("src"));
                self.srcdoc(tag.attribute("srcdoc"));
            }
            "link" => {
                let rel = tag.attribute("rel").unwrap_or_default();
                if leads_somewhere(rel) || (self.resources && !rel.trim().is_empty()) {
                    self.link(tag.attribute("href"));
                }
            }
            "form" => {
                self.posts = !gets(tag.attribute("method"));
                if !self.posts {
                    self.link(tag.attribute("action"));
                }
            }
            "button" | "input" => {
                let method = tag.attribute("formmethod");
                let posts = method.map_or(self.posts, |method| !gets(Some(method)));
                if !posts {
                    self.link(tag.attribute("formaction"));
                }
            }
            _ => {}
        }
        if self.resources {
            self.resources(tag);
        }
        if self.clicks
            && let Some(code) = tag.attribute("onclick")
        {
            let code = self.attribute(code);
            self.script(&code);
        }
    }

    fn resources(&mut self, tag: &Tag<'_>) {
        for (_, attribute) in RESOURCES.iter().filter(|(of, _)| *of == tag.name) {
            self.link(tag.attribute(attribute));
        }
        if matches!(tag.name, "img" | "source")
            && let Some(value) = tag.attribute("srcset")
        {
            let value = self.attribute(value);
            srcset_targets(&value).into_iter().for_each(|target| self.links.push(target));
        }
    }

    fn srcdoc(&mut self, value: Option<&str>) {
        let Some(value) = value else { return };
        let held: usize = self.srcdocs.iter().map(String::len).sum();
        if self.srcdocs.len() < SRCDOCS_MOST && held + value.len() <= SRCDOC_BYTES {
            let value = self.attribute(value).into_owned();
            self.srcdocs.push(value);
        }
    }

    /// A meta element that says where the page goes; whether it is one.
    pub(super) fn refresh(&mut self, content: &str) -> bool {
        let target = refresh_target(content);
        let leads = target.is_some();
        self.link(target);
        leads
    }

    fn link(&mut self, href: Option<&str>) {
        let Some(href) = href else { return };
        let href = self.attribute(href);
        match javascript(&href) {
            Some(code) => self.script(&code),
            None => self.links.push(&href),
        }
    }

    fn script(&mut self, code: &str) {
        script_targets(code).iter().for_each(|target| self.links.push(target));
    }
}

/// A form without a method, or with an unknown one, asks by GET.
fn gets(method: Option<&str>) -> bool {
    let method = method.unwrap_or_default().trim();
    !method.eq_ignore_ascii_case("post") && !method.eq_ignore_ascii_case("dialog")
}
