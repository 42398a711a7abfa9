//! Which operations a workload is made of: the mixes of YCSB, or the user's own.
//!
//! YCSB's core workloads (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC
//! 2010) that a store without range scans can run. In workload F a read-modify-write is a GET
//! and, in a later batch, a CAS that expects what the GET returned; a mismatch is tried again.

use std::fmt;
use std::str::FromStr;

/// What a worker decides to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Read a key.
    Get,
    /// Write a key.
    Put,
    /// Write a key that never was.
    Insert,
    /// Remove a key.
    Delete,
    /// Read a key, then compare and swap it.
    ReadModifyWrite,
    /// Count up a counter.
    Increment,
}

const CHOICES: [(Choice, &str); 6] = [
    (Choice::Get, "get"),
    (Choice::Put, "put"),
    (Choice::Insert, "insert"),
    (Choice::Delete, "del"),
    (Choice::ReadModifyWrite, "cas"),
    (Choice::Increment, "incr"),
];

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Distribution {
    /// By Zipf's law over a fixed pseudorandom order of the keys.
    Zipfian,
    /// All keys alike.
    Uniform,
    /// By Zipf's law over the keys' age: the newest is the most popular.
    Latest,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zipfian => "zipfian",
            Self::Uniform => "uniform",
            Self::Latest => "latest",
        })
    }
}

/// The share of each choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mix {
    name: String,
    percent: [f64; CHOICES.len()],
    /// Running sums of the shares in units of 2^-32, so that the last is 2^32.
    limits: [u64; CHOICES.len()],
}

impl Mix {
    fn new(name: &str, percent: [f64; CHOICES.len()]) -> Self {
        let mut sum = 0.0;
        let mut limits = percent.map(|share| {
            sum += share;
            (sum / 100.0 * 2.0_f64.powi(32)).round() as u64
        });
        // Everything from the last share that is not nothing up to the end belongs to it.
        let last = percent.iter().rposition(|share| *share > 0.0).expect("shares add up to 100");
        limits[last..].fill(1 << 32);
        Self { name: name.to_owned(), percent, limits }
    }

    /// One of YCSB's workloads: `YCSB-A`, `ycsb-a`, `A` or `a`.
    ///
    /// # Errors
    ///
    /// What to write instead.
    pub(crate) fn ycsb(name: &str) -> Result<Self, String> {
        let upper = name.to_ascii_uppercase();
        let letter = upper.strip_prefix("YCSB-").unwrap_or(&upper);
        //   get, put, insert, del, cas, incr
        let percent = match letter {
            "A" => [50.0, 50.0, 0.0, 0.0, 0.0, 0.0],
            "B" => [95.0, 5.0, 0.0, 0.0, 0.0, 0.0],
            "C" => [100.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            "D" => [95.0, 0.0, 5.0, 0.0, 0.0, 0.0],
            "F" => [50.0, 0.0, 0.0, 0.0, 50.0, 0.0],
            "E" => {
                return Err("YCSB-E needs range scans, and keys are spread over the servers by \
                            hash; take YCSB-A, B, C, D or F, or -mix"
                    .to_owned());
            }
            _ => return Err("take YCSB-A, YCSB-B, YCSB-C, YCSB-D or YCSB-F, or -mix".to_owned()),
        };
        Ok(Self::new(&format!("YCSB-{letter}"), percent))
    }

    /// The workload's name: YCSB's, or the mix as it was written.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The share of `choice`, in percent of the choices.
    pub(crate) fn percent(&self, choice: Choice) -> f64 {
        self.percent[choice as usize]
    }

    /// The distribution that goes with the workload.
    pub(crate) fn distribution(&self) -> Distribution {
        if self.percent(Choice::Insert) > 0.0 {
            Distribution::Latest
        } else {
            Distribution::Zipfian
        }
    }

    /// The choice for 32 random bits.
    #[inline]
    pub(crate) fn choose(&self, bits: u32) -> Choice {
        let bits = u64::from(bits);
        if bits < self.limits[0] {
            return Choice::Get;
        }
        let index = self.limits.iter().position(|limit| bits < *limit);
        CHOICES[index.expect("the last limit is above all 32-bit numbers")].0
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Parses shares such as `get=80,put=15,incr=5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut percent = [0.0; CHOICES.len()];
        for part in text.split(',') {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is no share; write get=80,put=15,incr=5"))?;
            let index = CHOICES.iter().position(|(_, known)| *known == name).ok_or_else(|| {
                format!("`{name}` is no operation; shares are of get, put, insert, del, cas, incr")
            })?;
            let share: f64 = share
                .parse()
                .ok()
                .filter(|share| (0.0..=100.0).contains(share))
                .ok_or_else(|| format!("`{share}` is no share; shares are 0 to 100 percent"))?;
            if percent[index] != 0.0 {
                return Err(format!("`{name}` has two shares; add them"));
            }
            percent[index] = share;
        }
        let sum: f64 = percent.iter().sum();
        if (sum - 100.0).abs() > 1e-6 {
            return Err(format!("the shares add up to {sum}; they must add up to 100"));
        }
        Ok(Self::new(text, percent))
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    fn frequencies(mix: &Mix) -> [f64; CHOICES.len()] {
        let mut counts = [0.0; CHOICES.len()];
        let mut random = Random::new(1, 1, 1);
        for _ in 0..100_000 {
            counts[mix.choose(random.next_u32()) as usize] += 0.001;
        }
        counts
    }

    #[test]
    fn choices_have_their_shares() {
        for mix in
            ["get=80,put=15,incr=5", "del=10,cas=20,insert=70", "put=100", "get=0.5,put=99.4999995"]
        {
            let mix: Mix = mix.parse().expect("the mix is well formed");
            for (index, frequency) in frequencies(&mix).into_iter().enumerate() {
                let share = mix.percent[index];
                assert!((frequency - share).abs() < 0.5, "{mix:?} {index}: {frequency}");
                assert!(share > 0.0 || frequency == 0.0, "{mix:?} {index}: {frequency}");
            }
            assert_eq!(
                mix.choose(u32::MAX),
                CHOICES.iter().rfind(|c| mix.percent(c.0) > 0.0).unwrap().0
            );
        }
    }

    #[test]
    fn ycsb_workloads_have_their_names_and_distributions() {
        for name in ["YCSB-B", "ycsb-b", "B", "b"] {
            let mix = Mix::ycsb(name).expect("workload B is known");
            assert_eq!(mix.name(), "YCSB-B");
            assert_eq!(mix.percent(Choice::Get), 95.0);
            assert_eq!(mix.distribution(), Distribution::Zipfian);
        }
        assert_eq!(Mix::ycsb("D").unwrap().distribution(), Distribution::Latest);
        assert_eq!(Mix::ycsb("F").unwrap().percent(Choice::ReadModifyWrite), 50.0);
        assert!(Mix::ycsb("YCSB-E").unwrap_err().contains("range scans"));
        assert!(Mix::ycsb("YCSB-X").unwrap_err().contains("YCSB-A"));
    }

    #[test]
    fn mixes_that_are_no_whole_are_refused() {
        for wrong in
            ["", "get", "get=50", "get=60,put=60", "scan=100", "get=x,put=1", "get=-5,put=105"]
        {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        assert!("get=50,get=50".parse::<Mix>().unwrap_err().contains("two shares"));
    }
}
