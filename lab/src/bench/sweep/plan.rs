//! What a sweep is told, and the runs that follow from it.

use std::path::PathBuf;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use report::results::is_name;

/// Flags that take a list.
const SWEPT: &str = "servers clients store partitions server_threads workers batch_size depth \
    connections client_threads value_size theta workload";

/// What a list of lists may multiply to: more would not end in a week.
const COMBINATIONS_MAX: usize = 10_000;

/// Estimate of what a run takes beside its measured time.
const AROUND_SECONDS: u64 = 5;

/// A sweep as it was asked for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What is swept, in the order given: names, each with its values.
    pub(super) lists: Vec<(String, Vec<String>)>,
    /// How often each combination runs.
    pub(super) repeats: u64,
    /// Measured seconds of a run.
    pub(super) secs: u64,
    seed: u64,
    /// Measured seconds of the run that does not count; 0 for none.
    pub(super) warm_secs: u64,
    /// The table's name.
    pub(super) name: String,
    /// The folder of all runs, if one was named.
    pub(super) out: Option<PathBuf>,
    /// Further flags for all servers.
    pub(super) server_args: String,
    /// Further flags for all clients.
    pub(super) client_args: String,
    /// Whether the runs are only listed.
    pub(super) dry_run: bool,
    /// The command that measures it again, in any folder.
    pub(super) command: String,
}

impl Plan {
    /// Reads the arguments; the error is the text that refuses them.
    pub(super) fn read(words: &[String]) -> Result<Self, String> {
        let (name, command) = ("sweep".to_owned(), "kvs-lab sweep".to_owned());
        let numbers = Self { repeats: 3, secs: 5, seed: 1, warm_secs: 2, ..Self::default() };
        let mut plan = Self { name, command, ..numbers };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (typed, value) =
                word.split_once('=').map_or((&**word, None), |(typed, value)| (typed, Some(value)));
            let flag = flag_name(typed).ok_or_else(|| {
                format!("'{word}' is no flag; lists are written with commas: -batch_size 100,1000")
            })?;
            if flag == "dry_run" {
                plan.dry_run = true;
                continue;
            }
            let is_flag = |word: &str| word.split('=').next().and_then(flag_name).is_some();
            let is_value = |word: &&String| flag.ends_with("_args") || !is_flag(word);
            let value = value
                .or_else(|| words.next().filter(is_value).map(String::as_str))
                .ok_or_else(|| format!("-{flag} needs a value; see kvs-lab sweep -help"))?;
            if flag != "out" {
                plan.command += &format!(" {typed} {}", quoted(value));
            }
            plan.set(flag, value)?;
        }
        if plan.lists.is_empty() {
            return Err("nothing is swept; give a list, e.g. -batch_size 100,1000".to_owned());
        }
        let lengths = plan.lists.iter().map(|(_, values)| values.len());
        if lengths.fold(1_usize, usize::saturating_mul) > COMBINATIONS_MAX {
            return Err(format!("more than {COMBINATIONS_MAX} combinations; shorten the lists"));
        }
        Ok(plan)
    }

    fn set(&mut self, flag: String, value: &str) -> Result<(), String> {
        match flag.as_str() {
            "repeats" => self.repeats = number(&flag, value, 1)?,
            "secs" => self.secs = number(&flag, value, 1)?,
            "seed" => self.seed = number(&flag, value, 0)?,
            "warm_secs" => self.warm_secs = number(&flag, value, 0)?,
            "name" if !is_name(value) => {
                return Err(format!("-name is '{value}'; use a-z, 0-9, _ and -"));
            }
            "name" => value.clone_into(&mut self.name),
            "out" => self.out = Some(value.into()),
            "server_args" => value.clone_into(&mut self.server_args),
            "client_args" => value.clone_into(&mut self.client_args),
            _ => {
                let values: Vec<String> = value.split(',').map(str::to_owned).collect();
                self.check_list(&flag, value, &values)?;
                self.lists.push((flag, values));
            }
        }
        Ok(())
    }

    fn check_list(&self, flag: &str, value: &str, values: &[String]) -> Result<(), String> {
        let is_empty = |value: &String| value.is_empty() || value.contains(char::is_whitespace);
        let twice = |(index, value)| values[..index].contains(value);
        if !SWEPT.split(' ').any(|name| name == flag) {
            Err(format!("there is no -{flag} to sweep; there are: {SWEPT}"))
        } else if values.iter().any(is_empty) {
            Err(format!("-{flag} is '{value}'; write values with single commas between: 1,2,4"))
        } else if self.lists.iter().any(|(name, _)| name == flag) {
            Err(format!("-{flag} is given twice; put all its values into one list"))
        } else if values.iter().enumerate().any(twice) {
            Err("a list has a value twice; use -repeats to run one more often".to_owned())
        } else {
            Ok(())
        }
    }

    /// How many combinations there are.
    pub(super) fn points(&self) -> usize {
        self.lists.iter().map(|(_, values)| values.len()).product()
    }

    /// What a combination sets: names with values, in the lists' order. Points count from 0; from
    /// one to the next it is the last list that moves on.
    pub(super) fn point(&self, mut index: usize) -> Vec<(&str, &str)> {
        let mut point = Vec::with_capacity(self.lists.len());
        for (name, values) in self.lists.iter().rev() {
            point.push((name.as_str(), values[index % values.len()].as_str()));
            index /= values.len();
        }
        point.reverse();
        point
    }

    /// What a combination sets, for people: `servers 1, batch_size 100`.
    pub(super) fn told(&self, index: usize) -> String {
        let words = self.point(index).into_iter().map(|(name, value)| format!("{name} {value}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// The launcher's four arguments for a combination that is measured for so long.
    pub(super) fn arguments(&self, index: usize, secs: u64) -> [String; 4] {
        let (mut servers, mut clients) = ("1", "1");
        let (mut of_servers, mut of_clients) = (self.server_args.clone(), self.client_args.clone());
        for (name, value) in self.point(index) {
            match name {
                "servers" => servers = value,
                "clients" => clients = value,
                "store" | "partitions" => of_servers += &format!(" -{name} {value}"),
                "server_threads" => of_servers += &format!(" -threads {value}"),
                "client_threads" => of_clients += &format!(" -threads {value}"),
                _ => of_clients += &format!(" -{name} {value}"),
            }
        }
        of_clients += &format!(" -secs {secs}");
        [servers, clients, of_servers.trim_start(), of_clients.trim_start()].map(str::to_owned)
    }

    /// The runs as they follow each other: points with their round, from 1. Each round has all
    /// points in an order of its own, which the seed draws.
    pub(super) fn runs(&self) -> Vec<(usize, u64)> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut order: Vec<usize> = (0..self.points()).collect();
        let shuffled = |round| {
            order.shuffle(&mut random);
            order.iter().map(|point| (*point, round)).collect::<Vec<_>>()
        };
        (1..=self.repeats).flat_map(shuffled).collect()
    }

    /// What a dry run tells: the command of each run, and the time that all take.
    pub(super) fn listed(&self) -> String {
        let runs = self.runs();
        let mut text = String::new();
        for (point, _) in &runs {
            let [servers, clients, of_servers, of_clients] = self.arguments(*point, self.secs);
            text +=
                &format!("run-cluster.sh {servers} {clients} \"{of_servers}\" \"{of_clients}\"\n");
        }
        let warm = if self.warm_secs > 0 { self.warm_secs + AROUND_SECONDS } else { 0 };
        let seconds = runs.len() as u64 * (self.secs + AROUND_SECONDS) + warm;
        text + &format!("about {} in all\n", duration(seconds))
    }
}

/// The name in a flag, with underscores; `None` if it is no flag.
fn flag_name(word: &str) -> Option<String> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let is_of_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'_' | b'-');
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    (begins && name.bytes().all(is_of_name)).then(|| name.replace('-', "_"))
}

/// A whole number of at most six digits.
fn number(flag: &str, value: &str, min: u64) -> Result<u64, String> {
    let digits = value.len() <= 6 && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && number >= min => Ok(number),
        Ok(_) if digits => Err(format!("-{flag} must be {min} or more")),
        _ => Err(format!("-{flag} is '{value}'; give a whole number")),
    }
}

/// A word as a user types it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.,/-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A time for people.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        5_400.. => format!("{} h", (seconds + 1_800) / 3_600),
        90.. => format!("{} min", (seconds + 30) / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Plan, String> {
        Plan::read(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_become_a_plan() {
        let plan = read(&[
            "-batch_size=10,100",
            "--store",
            "mutex,scc",
            "-repeats",
            "2",
            "--client-args",
            "-keys 200",
            "-warm_secs=0",
            "-out",
            "/tmp/a b",
            "-dry_run",
        ])
        .unwrap();
        let list =
            |name: &str, values: [&str; 2]| (name.to_owned(), values.map(str::to_owned).into());
        assert_eq!(
            plan.lists,
            [list("batch_size", ["10", "100"]), list("store", ["mutex", "scc"])]
        );
        assert_eq!((plan.repeats, plan.secs, plan.warm_secs), (2, 5, 0));
        assert_eq!((plan.client_args.as_str(), plan.dry_run), ("-keys 200", true));
        assert_eq!(plan.out, Some("/tmp/a b".into()));
        assert_eq!(
            plan.command,
            "kvs-lab sweep -batch_size 10,100 --store mutex,scc -repeats 2 \
            --client-args '-keys 200' -warm_secs 0"
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason() {
        for (line, said) in [
            (
                &["-batch", "1,2"][..],
                "there is no -batch to sweep; there are: servers clients store",
            ),
            (&["-batch_size", "1,,2"], "-batch_size is '1,,2'; write values with single commas"),
            (&["-batch_size", "1, 2"], "write values with single commas between: 1,2,4"),
            (&["-batch_size="], "write values with single commas"),
            (&["-batch_size", "1,1"], "a list has a value twice; use -repeats"),
            (&["-batch_size", "1", "-batch-size", "2"], "-batch_size is given twice"),
            (&["1,2"], "'1,2' is no flag; lists are written with commas"),
            (&["---depth", "1"], "'---depth' is no flag"),
            (&["-Depth", "1"], "'-Depth' is no flag"),
            (&["-batch_size"], "-batch_size needs a value; see kvs-lab sweep -help"),
            (&["-batch_size", "-depth", "1"], "-batch_size needs a value"),
            (&["-batch_size", "--depth=1"], "-batch_size needs a value"),
            (&["-secs", "3"], "nothing is swept; give a list"),
            (&["-depth", "1", "-repeats", "0"], "-repeats must be 1 or more"),
            (&["-depth", "1", "-secs", "long"], "-secs is 'long'; give a whole number"),
            (&["-depth", "1", "-secs", "+1"], "-secs is '+1'"),
            (&["-depth", "1", "-secs="], "-secs is ''"),
            (&["-depth", "1", "-seed", "1234567"], "-seed is '1234567'"),
            (&["-depth", "1", "-name", "A"], "-name is 'A'; use a-z, 0-9, _ and -"),
            (&["-depth", "1", "-name="], "-name is ''"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(said), "{line:?}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn a_list_may_be_long_but_not_too_long() {
        let list = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(read(&["-depth", &list(100), "-workers", &list(100)]).unwrap().points(), 10_000);
        let told = read(&["-depth", &list(100), "-workers", &list(101)]).unwrap_err();
        assert_eq!(told, "more than 10000 combinations; shorten the lists");
    }

    #[test]
    fn points_are_all_combinations_and_the_last_list_moves_first() {
        let plan = read(&["-servers", "1,2", "-store", "scc,mutex", "-depth", "1,2,4"]).unwrap();
        let told: Vec<String> = (0..plan.points()).map(|point| plan.told(point)).collect();
        assert_eq!(told.len(), 12);
        assert_eq!(told[0], "servers 1, store scc, depth 1");
        assert_eq!(told[1], "servers 1, store scc, depth 2");
        assert_eq!(told[3], "servers 1, store mutex, depth 1");
        assert_eq!(told[11], "servers 2, store mutex, depth 4");
    }

    #[test]
    fn values_go_to_the_side_that_knows_them() {
        let line = ["-servers", "2", "-clients", "3", "-partitions", "8", "-theta", "0.5"];
        let more = ["-server_threads", "4", "-client_threads", "5", "-client_args", "-keys 9"];
        let plan = read(&[&line[..], &more].concat()).unwrap();
        assert_eq!(
            plan.arguments(0, 7),
            ["2", "3", "-partitions 8 -threads 4", "-keys 9 -theta 0.5 -threads 5 -secs 7"]
        );
        assert_eq!(
            read(&["-depth", "2"]).unwrap().arguments(0, 1),
            ["1", "1", "", "-depth 2 -secs 1"]
        );
    }

    #[test]
    fn each_round_has_all_points_in_an_order_that_the_seed_draws() {
        let depths = ["-depth", "1,2,3,4,5,6,7,8"];
        let runs = |seed| read(&[&depths[..], &["-seed", seed]].concat()).unwrap().runs();
        let rounds: Vec<Vec<usize>> = runs("1")
            .chunks(8)
            .map(|round| round.iter().map(|(point, _)| *point).collect())
            .collect();
        assert_eq!(runs("1").iter().map(|(_, round)| *round).max(), Some(3));
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        }
        assert_ne!(rounds[0], rounds[1]);
        assert_eq!(runs("1"), runs("1"));
        assert_ne!(runs("1"), runs("2"));
    }

    #[test]
    fn a_dry_run_tells_commands_and_time() {
        let plan = read(&["-depth", "1,2", "-repeats", "2", "-warm_secs", "3"]).unwrap();
        let listed = plan.listed();
        assert_eq!(listed.lines().count(), 5);
        assert_eq!(listed.matches("run-cluster.sh 1 1 \"\" \"-depth 2 -secs 5\"\n").count(), 2);
        assert!(listed.ends_with("\nabout 48 s in all\n"), "{listed}");
        assert_eq!([89, 90, 5_399, 5_400].map(duration), ["89 s", "2 min", "90 min", "2 h"]);
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(quoted("a/b-1.5,2"), "a/b-1.5,2");
        assert_eq!(quoted("-keys 200"), "'-keys 200'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
