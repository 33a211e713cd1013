//! The table at the end: what was measured, its bar, whether it was met, and how busy the machine was.

/// What a number must reach.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
    /// For information only.
    None,
}

impl Bar {
    fn met(self, value: f64) -> bool {
        match self {
            Bar::AtLeast(bar) => value >= bar,
            Bar::AtMost(bar) => value <= bar,
            Bar::None => true,
        }
    }
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    what: String,
    value: String,
    bar: String,
    verdict: &'static str,
    load: String,
}

/// Collects rows; each is shown on stderr as soon as it is measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// A measured number.
    pub fn number(&mut self, what: impl Into<String>, value: f64, unit: &str, bar: Bar) {
        let verdict = match bar {
            Bar::None => "",
            _ if bar.met(value) => "PASS",
            _ => "FAIL",
        };
        let bar = match bar {
            Bar::AtLeast(least) => format!(">= {} {unit}", short(least)),
            Bar::AtMost(most) => format!("<= {} {unit}", short(most)),
            Bar::None => String::new(),
        };
        self.push(Row { what: what.into(), value: format!("{} {unit}", short(value)), bar, verdict, load: load() });
    }

    /// A number that could not be measured here.
    pub fn skipped(&mut self, what: impl Into<String>, why: &str) {
        self.push(Row {
            what: what.into(),
            value: why.to_owned(),
            bar: String::new(),
            verdict: "SKIPPED",
            load: load(),
        });
    }

    fn push(&mut self, row: Row) {
        eprintln!("bench: {}: {} {} (load {})", row.what, row.value, row.verdict, row.load);
        self.rows.push(row);
    }

    /// Whether a bar was missed.
    pub fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == "FAIL")
    }

    /// The whole table on stdout.
    pub fn print(&self) {
        let head = Row {
            what: "number".to_owned(),
            value: "measured".to_owned(),
            bar: "bar".to_owned(),
            verdict: "",
            load: "load".to_owned(),
        };
        let rows = || std::iter::once(&head).chain(&self.rows);
        let width = |cell: fn(&Row) -> &str| rows().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        let (what, value, bar) = (width(|row| &row.what), width(|row| &row.value), width(|row| &row.bar));
        for row in rows() {
            let Row { what: w, value: v, bar: b, verdict, load } = row;
            println!("{w:<what$}  {v:>value$}  {b:>bar$}  {verdict:<7}  {load:>5}");
        }
    }
}

/// Three digits that matter, and no more than one behind a large number's point.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The one-minute load average: a number measured on a busy machine is to be measured again.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
