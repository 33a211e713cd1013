//! Serves the demo site: `cargo run --example demo_site -- --port 8080`, then open the address it prints.
//!
//! Flags: `--port N` (0: a free one), `--pages N`, `--latency-ms N`, `--log FILE`, `--plain` (no lab, no sitemaps,
//! no scripts), `--calendar` (an endless one), `--poison`.

mod site;

use std::time::Duration;

fn main() {
    match parse(std::env::args().skip(1)).and_then(|config| site::Site::start(config).map_err(|e| e.to_string())) {
        Ok(site) => {
            println!("{}/", site.url);
            loop {
                std::thread::park();
            }
        }
        Err(message) => {
            eprintln!("demo_site: {message}");
            std::process::exit(2);
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<site::Config, String> {
    let mut config = site::Config::full(60);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--port" => config.port = number(&value()?)?,
            "--pages" => config.pages = number(&value()?)?,
            "--latency-ms" => config.latency = Duration::from_millis(number(&value()?)?),
            "--log" => config.log = Some(value()?.into()),
            "--plain" => (config.lab, config.sitemaps, config.scripts) = (false, false, false),
            "--calendar" => config.calendar = true,
            "--poison" => config.poison = true,
            _ => return Err(format!("`{}` is not a flag of the demo site", flag.escape_debug())),
        }
    }
    Ok(config)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{}` is not a number that fits here", text.escape_debug()))
}
