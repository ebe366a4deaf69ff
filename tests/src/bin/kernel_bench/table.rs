//! Prices → what each program added, as the lines that `cargo xtask bench-kernel` reads.
//!
//! ```text
//! KRSI-NOTHING  hook  instructions  moved
//! KRSI-ROW      name  hook  target%  ours  against      (or: …  target%  why it was not measured)
//! ```
//! Fields are separated by tabs.

use std::collections::HashMap;

use crate::act::Act;
use crate::ours::Absent;
use crate::row::{self, Against, Row};

/// Everything that was priced.
#[derive(Default)]
pub struct Table {
    nothing: HashMap<Act, Vec<f64>>,
    prices: HashMap<(Act, Against), Result<f64, Absent>>,
}

impl Table {
    /// What an act costs with nothing attached; told again at the end, to see what moved.
    pub fn nothing(&mut self, act: Act, price: f64) {
        eprintln!("{act}, nothing attached: {price:.1}");
        self.nothing.entry(act).or_default().push(price);
    }

    /// What an act costs with a program attached.
    pub fn price(&mut self, act: Act, with: Against, price: Result<f64, Absent>) {
        match &price {
            Ok(price) => eprintln!("{act}, {with:?}: {:+.1}", price - self.bare(act)),
            Err(Absent(why)) => eprintln!("{act}, {with:?}: not measured, {why}"),
        }
        self.prices.insert((act, with), price);
    }

    /// Prints the lines.
    pub fn print(&self) {
        for act in Act::ALL {
            let prices = self.nothing.get(&act).map(Vec::as_slice).unwrap_or_default();
            let (least, most) = prices.iter().fold((f64::MAX, f64::MIN), |(least, most), price| {
                (least.min(*price), most.max(*price))
            });
            println!("KRSI-NOTHING\t{}\t{:.0}\t{:.1}", act.hook(), self.bare(act), most - least);
        }
        for row in row::ROWS {
            for act in Act::ALL.into_iter().filter(|act| row::concerns(row, *act)) {
                println!("{}", self.line(row, act));
            }
        }
    }

    fn line(&self, row: &Row, act: Act) -> String {
        let head = format!("KRSI-ROW\t{}\t{}\t{}", row.name, act.hook(), row.target_percent);
        match (self.added(act, Against::Ours(row.ours)), self.added(act, row.against)) {
            (Ok(ours), Ok(against)) => format!("{head}\t{ours:.1}\t{against:.1}"),
            (Err(Absent(why)), _) | (_, Err(Absent(why))) => format!("{head}\t{why}"),
        }
    }

    fn added(&self, act: Act, with: Against) -> Result<f64, Absent> {
        match self.prices.get(&(act, with)) {
            Some(Ok(price)) => Ok(price - self.bare(act)),
            Some(Err(absent)) => Err(absent.clone()),
            None => Err(Absent("there is no program for it".into())),
        }
    }

    fn bare(&self, act: Act) -> f64 {
        let first = self.nothing.get(&act).and_then(|prices| prices.first());
        first.copied().unwrap_or(f64::NAN)
    }
}
