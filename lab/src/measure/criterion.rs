//! Micro-benchmarks, which criterion measures.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{tied, workspace};

/// The medians of benchmarks, in nanoseconds, by their whole names.
#[derive(Debug)]
pub(crate) struct Medians(BTreeMap<String, f64>);

impl Medians {
    /// Runs those benchmarks of a package's bench whose names match the regular expression
    /// `filter`. What criterion says of them goes to stdout.
    ///
    /// # Errors
    ///
    /// When cargo fails, or what criterion wrote can't be read.
    pub(crate) async fn of(package: &str, bench: &str, filter: &str) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let mut cargo = tied::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["bench", "--locked", "--package", package, "--bench", bench]);
        cargo.args(["--", "--noplot", filter]);
        cargo.env("CRITERION_HOME", home.path()).current_dir(workspace::root());
        let status = cargo.status().await.context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo bench --package {package} failed; see above");
        }
        Self::read(home.path())
    }

    /// The median of the benchmark of this name, in nanoseconds; of its only one, if it is a
    /// group's.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn ns(&self, name: &str) -> anyhow::Result<f64> {
        let is = |id: &str| {
            id.strip_prefix(name).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]))
        };
        let found = self.0.iter().find(|(id, _)| is(id));
        let (_, median) = found.with_context(|| format!("there is no benchmark {name}"))?;
        Ok(*median)
    }

    /// Reads what criterion left in its folder: `new/` for each benchmark, at any depth.
    fn read(home: &Path) -> anyhow::Result<Self> {
        let (mut medians, mut folders) = (BTreeMap::new(), vec![home.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.ends_with("new") {
                    let json = |name| -> anyhow::Result<Value> {
                        Ok(serde_json::from_slice(&std::fs::read(path.join(name))?)?)
                    };
                    let name = json("benchmark.json")?["full_id"].as_str().map(str::to_owned);
                    let median = json("estimates.json")?["median"]["point_estimate"].as_f64();
                    let found = name.zip(median);
                    medians.extend([
                        found.with_context(|| format!("no median in {}", path.display()))?
                    ]);
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        Ok(Self(medians))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder like criterion's, of one benchmark.
    fn home(id: &str, estimates: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let new = home.path().join("lookup/zipf_scc/64 partitions/new");
        std::fs::create_dir_all(&new).unwrap();
        std::fs::create_dir_all(home.path().join("lookup/report")).unwrap();
        let benchmark = serde_json::json!({"group_id": "lookup/zipf", "full_id": id});
        std::fs::write(new.join("benchmark.json"), benchmark.to_string()).unwrap();
        std::fs::write(new.join("estimates.json"), estimates).unwrap();
        home
    }

    #[test]
    fn medians_are_found_by_name() {
        let home = home(
            "lookup/zipf/scc/64 partitions",
            r#"{"mean":{"point_estimate":2.5},"median":{"point_estimate":61.25}}"#,
        );
        let medians = Medians::read(home.path()).unwrap();
        assert_eq!(medians.ns("lookup/zipf/scc/64 partitions").unwrap(), 61.25);
        assert_eq!(medians.ns("lookup/zipf/scc").unwrap(), 61.25);
        for other in ["lookup/zipf/sc", "lookup/uniform/scc", "lookup/zipf/scc/64 partitions/batch"]
        {
            let error = medians.ns(other).unwrap_err().to_string();
            assert_eq!(error, format!("there is no benchmark {other}"));
        }
    }

    #[test]
    fn a_benchmark_without_a_median_is_refused() {
        let home = home("a", r#"{"mean":{"point_estimate":2.5}}"#);
        let error = Medians::read(home.path()).unwrap_err();
        assert!(format!("{error:#}").contains("no median in "), "{error:#}");
    }
}
