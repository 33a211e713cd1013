//! What the elements of a document refer to.

use super::{Element, Page};
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
    pub(super) fn references(&mut self, name: &str, element: &Element<'_, '_>) {
        match name {
            "a" | "area" => {
                let href = element.get_attribute("href");
                let drawn = self.drawings > 0 && href.is_none();
                self.link(if drawn { element.get_attribute("xlink:href") } else { href });
            }
            "frame" => self.link(element.get_attribute("src")),
            "iframe" => {
                self.link(element.get_attribute("src"));
                self.srcdoc(element.get_attribute("srcdoc"));
            }
            "link" => {
                let rel = element.get_attribute("rel").unwrap_or_default();
                if leads_somewhere(&rel) || (self.resources && !rel.trim().is_empty()) {
                    self.link(element.get_attribute("href"));
                }
            }
            "form" => {
                self.posts = !gets(element.get_attribute("method").as_deref());
                if !self.posts {
                    self.link(element.get_attribute("action"));
                }
            }
            "button" | "input" => {
                let method = element.get_attribute("formmethod");
                let posts = method.as_deref().map_or(self.posts, |method| !gets(Some(method)));
                if !posts {
                    self.link(element.get_attribute("formaction"));
                }
            }
            _ => {}
        }
        if self.resources {
            self.resources(name, element);
        }
        if self.clicks
            && let Some(code) = element.get_attribute("onclick")
        {
            let code = self.attribute(&code);
            self.script(&code);
        }
    }

    fn resources(&mut self, name: &str, element: &Element<'_, '_>) {
        for (_, attribute) in RESOURCES.iter().filter(|(of, _)| *of == name) {
            self.link(element.get_attribute(attribute));
        }
        if matches!(name, "img" | "source")
            && let Some(value) = element.get_attribute("srcset")
        {
            let value = self.attribute(&value);
            srcset_targets(&value).into_iter().for_each(|target| self.links.push(target));
        }
    }

    fn srcdoc(&mut self, value: Option<String>) {
        let Some(value) = value else { return };
        let held: usize = self.srcdocs.iter().map(String::len).sum();
        if self.srcdocs.len() < SRCDOCS_MOST && held + value.len() <= SRCDOC_BYTES {
            let value = self.attribute(&value);
            self.srcdocs.push(value);
        }
    }

    /// A meta element that says where the page goes; whether it is one.
    pub(super) fn refresh(&mut self, content: &str) -> bool {
        let target = refresh_target(content).map(str::to_owned);
        let leads = target.is_some();
        self.link(target);
        leads
    }

    fn link(&mut self, href: Option<String>) {
        let Some(href) = href else { return };
        let href = self.attribute(&href);
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
