//! The results: named figures, with one value for each round.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
}

impl Kind {
    pub(crate) const fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            target: None,
        }
    }

    pub(crate) const fn at_least(self, value: f64) -> Self {
        Self {
            target: Some(Target::AtLeast(value)),
            ..self
        }
    }

    pub(crate) const fn at_most(self, value: f64) -> Self {
        Self {
            target: Some(Target::AtMost(value)),
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) kind: Kind,
    pub(crate) rounds: Vec<f64>,
    pub(crate) median: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

impl Figure {
    fn add(&mut self, value: f64) {
        self.rounds.push(value);
        self.median = median(&self.rounds);
        self.met = self.kind.target.map(|target| target.is_met_by(self.median));
    }
}

/// A workload's figures, in the order in which they were first measured.
#[derive(Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) title: String,
    pub(crate) figures: Vec<Figure>,
}

impl Workload {
    pub(crate) fn new(title: String) -> Self {
        Self {
            title,
            figures: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, kind: Kind, value: f64) {
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.kind == kind) {
            figure.add(value);
        } else {
            let mut figure = Figure {
                kind,
                rounds: Vec::new(),
                median: value,
                met: None,
            };
            figure.add(value);
            self.figures.push(figure);
        }
    }
}

/// Returns the median; NaN if there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (upper, lower) = (sorted.len() / 2, sorted.len().saturating_sub(1) / 2);
    match (sorted.get(lower), sorted.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => f64::NAN,
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_the_two_middle_values() {
        for (values, expected) in [
            (&[7.0][..], 7.0),
            (&[9.0, 1.0, 5.0], 5.0),
            (&[4.0, 1.0, 3.0, 100.0], 3.5),
            (&[2.0, 1.0], 1.5),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_median_and_not_the_best_round_decides_whether_a_target_is_met() {
        const FAST: Kind = Kind::new("rate", "/s").at_least(10.0);
        const SMALL: Kind = Kind::new("size", "bytes").at_most(10.0);
        let mut workload = Workload::new("test".into());
        for value in [9.0, 1.0, 20.0] {
            workload.record(FAST, value);
            workload.record(SMALL, value);
        }
        let met: Vec<_> = workload
            .figures
            .iter()
            .map(|figure| (figure.median, figure.met))
            .collect();
        assert_eq!(met, [(9.0, Some(false)), (9.0, Some(true))]);
    }
}
