//! What pages are told about the machine that they are shown on: window, device, time zone, language.

use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::emulation::{
    SetDeviceMetricsOverrideParams, SetLocaleOverrideParams, SetTimezoneOverrideParams, SetTouchEmulationEnabledParams,
};

use super::config::BrowserError;
use super::instance::Instance;
use crate::model::conduct::viewport;
use crate::model::task::FetchSpec;

/// The window that Chromium is started with, for a device scale without a window of its own.
const WINDOW: (u32, u32) = (1280, 1024);

/// Fingers that a touch screen tells apart.
const TOUCHES: i64 = 5;

/// One task's wishes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    window: Option<(u32, u32)>,
    scale: Option<f64>,
    mobile: bool,
    touch: bool,
    timezone: Option<String>,
    locale: Option<String>,
}

impl Look {
    /// As the task wants it.
    pub(super) fn of(fetch: &FetchSpec) -> Look {
        let first = |list: &String| list.split([',', ';']).next().map(|tag| tag.trim().to_owned());
        Look {
            window: fetch.viewport.as_deref().and_then(viewport),
            scale: fetch.device_scale,
            mobile: fetch.mobile,
            touch: fetch.touch,
            timezone: fetch.timezone.clone(),
            locale: fetch.accept_language.as_ref().and_then(first).filter(|tag| tag != "*" && !tag.is_empty()),
        }
    }

    /// Puts it on a new tab.
    ///
    /// # Errors
    /// The browser is gone or does not do as told.
    pub(super) async fn put_on(&self, instance: &Instance, page: &Page) -> Result<(), BrowserError> {
        if self.window.is_some() || self.scale.is_some() || self.mobile {
            let (width, height) = self.window.unwrap_or(WINDOW);
            let metrics = SetDeviceMetricsOverrideParams::new(width, height, self.scale.unwrap_or(1.0), self.mobile);
            instance.step("Emulation.setDeviceMetricsOverride", page.execute(metrics)).await?;
        }
        if self.touch {
            let touch = SetTouchEmulationEnabledParams { enabled: true, max_touch_points: Some(TOUCHES) };
            instance.step("Emulation.setTouchEmulationEnabled", page.execute(touch)).await?;
        }
        if let Some(timezone) = &self.timezone {
            let set = SetTimezoneOverrideParams::new(timezone.clone());
            in_effect(instance.step("Emulation.setTimezoneOverride", page.execute(set)).await)?;
        }
        if let Some(locale) = &self.locale {
            let set = SetLocaleOverrideParams { locale: Some(locale.clone()) };
            in_effect(instance.step("Emulation.setLocaleOverride", page.execute(set)).await)?;
        }
        Ok(())
    }
}

/// The languages of an `Accept-Language`, the best first: Chromium makes weights of its own from their order.
pub(super) fn languages(accept: &str) -> String {
    let weighed = |part: &str| {
        let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
        let weight = rest.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f64>().ok());
        (tag.trim().to_owned(), weight.unwrap_or(1.0))
    };
    let mut all: Vec<(String, f64)> = accept.split(',').map(weighed).collect();
    all.retain(|(tag, weight)| !tag.is_empty() && tag != "*" && *weight > 0.0);
    all.sort_by(|one, other| other.1.total_cmp(&one.1));
    all.into_iter().map(|(tag, _)| tag).collect::<Vec<_>>().join(",")
}

/// Tabs of one session share a renderer now and then: what one has set holds for the other, and Chromium says so.
/// What it does not know it does without, rather than no page being read at all.
fn in_effect<T>(done: Result<T, BrowserError>) -> Result<(), BrowserError> {
    match done {
        Err(BrowserError::Command { step, reason }) => {
            if !reason.contains("already in effect") {
                tracing::warn!(step, reason = %reason, "the browser does not take a setting of the task");
            }
            Ok(())
        }
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_in_their_order() {
        #[track_caller]
        fn check(accept: &str, expected: &str) {
            assert_eq!(languages(accept), expected);
        }
        check("de-AT,de;q=0.8", "de-AT,de");
        check("en;q=0.5, fr , *;q=0.1, it;q=0", "fr,en");
        check("", "");
    }
}
