//! The page from top to bottom, but for its tables of figures.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::numbers::{ms, rounded};
use super::{Page, tables};
use crate::cluster::{ClusterResult, warnings};
use crate::plots::Picture;
use crate::result::Build;
use crate::run_folder::{MeasuredClient, Verdict};
use crate::table;
use crate::warning::Warning;
use crate::wording::{grouped, utc};

/// What a reader wants first: the total, where it was measured, and whether it can be trusted.
pub(super) fn summary(page: &Page<'_>) -> Markup {
    let mode = &page.run.description.mode;
    html! {
        header {
            h1 { "Run " (page.name()) " · " (mode) }
            @match &page.result {
                Ok(result) => {
                    p #total .total {
                        (rounded(result.operations_per_second)) " operations per second"
                    }
                    p .quote { (table::total_line(result)) }
                    @for failure in &result.failures {
                        p .failure { "Not whole: " (failure) "." }
                    }
                    (facts(result, &page.clients))
                    p #limit .limit { (capital(&result.bottleneck.to_string())) }
                }
                Err(reason) => {
                    p #total .total { "No total" }
                    p .quote { (reason) }
                }
            }
        }
    }
}

/// The few figures that stand beside the total.
fn facts(result: &ClusterResult, clients: &[MeasuredClient]) -> Markup {
    let fact = |good: Option<bool>, figure: String, what: &str| {
        let class = match good {
            Some(true) => "good",
            Some(false) => "bad",
            None => "",
        };
        html! { li class=(class) { b { (figure) } span { (what) } } }
    };
    let worst = |pick: fn(&crate::result::Latency) -> f64| {
        let all = clients.iter().filter_map(|client| client.result.latency_us.operations.as_ref());
        all.map(pick).reduce(f64::max)
    };
    let hit = 100.0 * result.hit_ratio;
    html! {
        ul .facts {
            (fact(None, format!("{} + {}", result.servers, result.clients), "servers + clients"))
            (fact(None, format!("{:.1} s", result.window.seconds()), "measured together"))
            @if let Some(us) = worst(|latency| latency.p50) {
                (fact(None, format!("{} ms", ms(us)), "median latency"))
            }
            @if let Some(us) = worst(|latency| latency.p99) {
                (fact(None, format!("{} ms", ms(us)), "99th percentile"))
            }
            // Rounded down: 100% means all.
            (fact(Some(result.hit_ratio >= 1.0), format!("{:.2}%", (100.0 * hit).floor() / 100.0),
                "of GETs found their key"))
            (fact(Some(result.sum.errors == 0), grouped(result.sum.errors as f64), "errors"))
            (fact(Some(result.sum.unknown == 0), grouped(result.sum.unknown as f64),
                "unknown outcomes"))
            @if let Some(check) = &result.check {
                (fact(Some(check.verdict == Verdict::Linearizable), verdict_word(check.verdict)
                    .to_owned(), "checked history"))
            }
            @if result.build == Build::Debug {
                (fact(Some(false), "debug build".to_owned(), "its figures mean nothing"))
            }
        }
        @if clients.len() > 1 {
            p .soft { "Latencies beside the total are those of the slowest client." }
        }
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Linearizable => "linearizable",
        Verdict::Violation => "NOT LINEARIZABLE",
        Verdict::Undecided => "UNDECIDED",
    }
}

/// What a reader of the total should know, each with its remedy; nothing if there is nothing.
pub(super) fn warnings(page: &Page<'_>) -> Markup {
    let Ok(result) = &page.result else { return html! {} };
    let place = warnings::of_place(result);
    let warnings: Vec<&Warning> = place.iter().chain(&result.warnings).collect();
    html! {
        @if !warnings.is_empty() {
            h2 { "Warnings" }
            ul #warnings .warnings {
                @for warning in warnings {
                    li { b { (capital(&warning.what)) "." } " To mend it: " (warning.remedy) "." }
                }
            }
        }
    }
}

/// A text that begins a sentence.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// The pictures, numbered.
pub(super) fn figures(pictures: &[Picture]) -> Markup {
    html! {
        @if !pictures.is_empty() {
            h2 { "Figures" }
            div .figures {
                @for (index, picture) in pictures.iter().enumerate() {
                    figure id=(picture.name) {
                        div role="img" aria-label=(picture.caption) {
                            (PreEscaped(picture.svg()))
                        }
                        figcaption { b { "Figure " (index + 1) ". " } (picture.caption) }
                    }
                }
            }
        }
    }
}

/// What kvs-check found.
pub(super) fn verdict(page: &Page<'_>) -> Markup {
    let Ok(result) = &page.result else { return html! {} };
    html! {
        h2 { "Linearizability" }
        @match &result.check {
            None => p {
                "Not checked: no histories were taken. " code { "KVS_CHECK=1" }
                " in front of the command records every operation and checks them all."
            },
            Some(check) => {
                p #verdict { b { (verdict_word(check.verdict)) } ": " (check.conclusion) }
                p .soft {
                    (grouped(check.recorded as f64)) " operations recorded, "
                    (grouped(check.checked as f64)) " of them checked, "
                    (grouped(check.unknown as f64)) " with unknown outcome; "
                    (check.restarts) " restarts of servers seen. All of it stands in check.json."
                }
            }
        }
    }
}

/// Where and how the run took place, and how to repeat it.
pub(super) fn environment(page: &Page<'_>) -> Markup {
    let description = &page.run.description;
    let environment = &description.environment;
    let first = page.clients.first().map(|client| &client.result);
    let mut rows = vec![
        ("started", utc(description.started_unix_ms)),
        ("mode", description.mode.clone()),
        ("machines", description.machines.to_string()),
        ("commit", or_unknown(&environment.commit)),
        ("build", first.map_or("unknown".to_owned(), |client| build_word(client.build).to_owned())),
        ("server flags", or_defaults(&description.server_args)),
        ("client flags", or_defaults(&description.client_args)),
    ];
    if let Some(client) = first {
        rows.push(("seed", client.seed.to_string()));
    }
    html! {
        h2 { "Environment" }
        div .scroll #environment { table .texts { tbody {
            @for (name, text) in rows { tr { td { (name) } td { (text) } } }
        } } }
        (tables::hosts(environment))
        (tables::listening(&page.run.servers))
        (tables::clocks(&page.run.clocks))
        @if let Some(client) = first {
            details {
                summary { "Every flag of the clients, defaults included" }
                div .scroll { table .texts { tbody {
                    @for (name, value) in flags(&client.config) {
                        tr { td { "-" (name) } td { (value) } }
                    }
                } } }
            }
            h3 { "Again" }
            pre { (again(page, client.seed)) }
        }
    }
}

fn build_word(build: Build) -> &'static str {
    match build {
        Build::Release => "release",
        Build::Debug => "debug: its figures mean nothing",
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "not noted by the launcher".to_owned() } else { text.to_owned() }
}

fn or_defaults(text: &str) -> String {
    if text.is_empty() { "defaults".to_owned() } else { text.to_owned() }
}

/// The flags by name; those that belong to the launcher differ from run to run and are left out.
fn flags(config: &Value) -> Vec<(String, String)> {
    const LAUNCHERS: [&str; 7] =
        ["client_count", "client_index", "history", "hosts", "json", "mode", "run_id"];
    let Value::Object(config) = config else { return Vec::new() };
    let own = config.iter().filter(|(name, _)| !LAUNCHERS.contains(&name.as_str()));
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    own.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The command that repeats the run with its seed.
fn again(page: &Page<'_>, seed: u64) -> String {
    let description = &page.run.description;
    let client_args = if description.client_args.contains("-seed") {
        description.client_args.clone()
    } else {
        format!("{} -seed {seed}", description.client_args)
    };
    let quoted = |text: &str| format!("'{}'", text.trim().replace('\'', "'\\''"));
    format!(
        "./run-cluster.sh {} {} {} {}",
        description.servers,
        description.clients,
        quoted(&description.server_args),
        quoted(&client_args)
    )
}
