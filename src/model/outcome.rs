//! How a URL can end: closed lists, each with the one spelling that files, logs and commands use.

/// Declares an enum whose variants have one stable lower-case spelling each.
macro_rules! closed_list {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every member, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The spelling used in files, logs and commands.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// Reads the spelling back.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use closed_list;

closed_list! {
    /// Why a visit failed, as it matters to retry and to the host's breaker.
    FailureClass {
        /// The name does not resolve.
        Dns = "dns",
        /// TCP refused, reset or unreachable.
        Connect = "connect",
        /// The TLS handshake or the certificate failed.
        Tls = "tls",
        /// A deadline of the visit passed (connect, first byte, rate, page).
        Timeout = "timeout",
        /// The server answered 429, or 503 with `Retry-After`.
        Throttled = "throttled",
        /// The server answered 5xx.
        ServerError = "server_error",
        /// The answer broke HTTP, or its encoding was damaged.
        Protocol = "protocol",
        /// More redirects than allowed, or a loop.
        TooManyRedirects = "too_many_redirects",
        /// The body passed its size or decompression limit.
        TooLarge = "too_large",
        /// robots.txt of the host cannot be had (5xx or network), so nothing may be fetched yet.
        RobotsUnreachable = "robots_unreachable",
        /// The task's proxy could not be used; says nothing about the site.
        Proxy = "proxy",
        /// The page's renderer crashed; a suspect, not charged an attempt.
        RendererCrash = "renderer_crash",
        /// The browser died with the page in flight; a suspect, not charged an attempt.
        BrowserLost = "browser_lost",
        /// The browser answered a step with an error of its own.
        Browser = "browser",
        /// The host was gone for `host_give_up_after`.
        HostUnreachable = "host_unreachable",
    }
}

closed_list! {
    /// Why a URL ended without being fetched.
    SkipReason {
        /// robots.txt forbids it.
        Robots = "robots",
        /// It answered with a redirect; `final_url` says where to, inside the scope or not.
        Redirect = "redirect",
        /// It is, or redirected to, something that is not fetched at all: another scheme than http and https, or a
        /// host that the task blocks.
        OutOfScope = "out_of_scope",
        /// Its address, or that of a redirect hop, may not be reached.
        AddressForbidden = "address_forbidden",
        /// It crashed its browser or the daemon too often while alone.
        Poison = "poison",
        /// It is a download or a type that the task does not fetch.
        Download = "download",
        /// The session was ended by the operator with the URL left over.
        Cancelled = "cancelled",
    }
}

closed_list! {
    /// The three kinds of final outcome.
    OutcomeKind {
        /// An answer was received and recorded; a 404 is fetched.
        Fetched = "fetched",
        /// Every allowed attempt failed.
        Failed = "failed",
        /// It was decided not to fetch it.
        Skipped = "skipped",
    }
}

/// The final, committed outcome of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer was received and recorded.
    Fetched,
    /// Every allowed attempt failed, the last one so.
    Failed(FailureClass),
    /// It was decided not to fetch it.
    Skipped(SkipReason),
}

impl Outcome {
    /// The kind alone.
    pub const fn kind(self) -> OutcomeKind {
        match self {
            Outcome::Fetched => OutcomeKind::Fetched,
            Outcome::Failed(_) => OutcomeKind::Failed,
            Outcome::Skipped(_) => OutcomeKind::Skipped,
        }
    }
}

closed_list! {
    /// What brought a page.
    FetchedWith {
        /// Plain HTTP, parsed as it streamed.
        Http = "http",
        /// Chromium.
        Browser = "browser",
    }
}

closed_list! {
    /// Why a page was fetched the way it was.
    FetchReason {
        /// The task's fetch mode, or the kind of the URL (a sitemap), leaves no choice.
        Mode = "mode",
        /// Pages like it showed the same by plain HTTP.
        Agrees = "agrees",
        /// Pages like it were not compared often enough yet.
        Unknown = "unknown",
        /// One of those that are compared for ever.
        Sample = "sample",
        /// Pages like it show more, or other things, in a browser.
        Differs = "differs",
        /// The server refused plain HTTP.
        Refused = "refused",
        /// An earlier try failed.
        Retry = "retry",
        /// The answer is no page that a browser would show otherwise.
        NotRendered = "not_rendered",
        /// A client-side route.
        Route = "route",
        /// The browser did not bring it to an end in time: it is what plain HTTP brought.
        NotInTime = "not_in_time",
    }
}

closed_list! {
    /// Why a discovered URL was set aside instead of queued.
    ParkReason {
        /// Longer than the URL length limit.
        TooLong = "too_long",
        /// A path segment repeats too often, or there are too many segments.
        RepeatedSegments = "repeated_segments",
        /// Too many distinct parameter sets under one path template.
        QueryExplosion = "query_explosion",
        /// The host's budget is used up.
        HostBudget = "host_budget",
        /// The path template's budget is used up.
        PatternBudget = "pattern_budget",
        /// A sitemap below too many indexes.
        SitemapDepth = "sitemap_depth",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::parse(class.as_str()), Some(*class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        for reason in SkipReason::ALL {
            assert_eq!(SkipReason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(FailureClass::parse("nonsense"), None);
    }
}
