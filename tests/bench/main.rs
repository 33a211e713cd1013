//! The project's numbers, each printed with its bar: `cargo bench --bench numbers -- [store]`.

mod store;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    if chosen("store") {
        store::run();
    }
}
