//! Behaviour through public faces.

mod support;

#[path = "../../examples/site/mod.rs"]
mod site;

mod afterwards;
mod alerts;
mod api;
mod architecture;
mod archive;
mod attached;
mod auto;
mod beside;
mod browser_breaker;
mod changed_tasks;
mod chromium;
mod clock_jumps;
mod commands;
mod coverage;
mod damage;
mod dashboard;
mod degraded;
mod disk;
mod dry_run;
mod fault_points;
mod fleet;
mod housekeeping;
mod kept;
mod library;
mod link_kinds;
mod login;
mod notify;
mod oracle_itself;
mod orders;
mod orders_kept;
mod owners;
mod panics;
mod pdf;
mod poison;
mod politeness;
mod proxied;
mod random_kills;
mod schemas;
mod scripted;
mod signals;
mod sitemaps;
mod ssrf;
mod starts;
mod unit_file;
