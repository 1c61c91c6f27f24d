//! Money: exact amounts in US dollars, the currency in which providers bill.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
};

use rust_decimal::{Decimal, prelude::ToPrimitive};

/// 10¹², a dollar in picodollars: a price of so many dollars per million tokens with six decimals is a whole number of these
/// per token.
const PICOS_PER_UNIT: i128 = 1_000_000_000_000;

/// An amount of US dollars, exact to a picodollar (10⁻¹²).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money {
    picos: i128,
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money { picos: 0 };

    /// So many dollars and picodollars; both of one sign.
    pub fn new(units: i64, picos: i64) -> Money {
        Money { picos: i128::from(units) * PICOS_PER_UNIT + i128::from(picos) }
    }

    /// A decimal number of dollars, rounded to a picodollar, half to even; `None` beyond 10¹⁶ dollars.
    pub fn from_decimal(dollars: Decimal) -> Option<Money> {
        let picos = dollars.checked_mul(Decimal::from(1_000_000_000_000_i64))?.round();
        Some(Money { picos: picos.to_i128()? })
    }

    /// Whole dollars, towards zero. Saturates at 9.2 × 10¹⁸.
    pub fn units(self) -> i64 {
        let units = self.picos / PICOS_PER_UNIT;
        i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
    }

    /// What is left beside the whole dollars, in picodollars: of the same sign, less than 10¹².
    pub fn picos(self) -> i64 {
        i64::try_from(self.picos % PICOS_PER_UNIT).unwrap_or(0)
    }

    /// What is left of this after that was taken, at least nothing.
    #[must_use]
    pub fn less(self, other: Money) -> Money {
        Money { picos: self.picos.saturating_sub(other.picos).max(0) }
    }
}

impl Add for Money {
    type Output = Money;

    fn add(self, other: Money) -> Money {
        Money { picos: self.picos.saturating_add(other.picos) }
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Add::add)
    }
}

/// Dollars with as many decimals as it takes, at least two: `0.0028`, `1.50`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.picos < 0 { "-" } else { "" };
        let (units, picos) = (self.picos.abs() / PICOS_PER_UNIT, self.picos.abs() % PICOS_PER_UNIT);
        let decimals = format!("{picos:012}");
        let kept = decimals.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{units}.{}", &decimals[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_readable() {
        let price: Decimal = "0.0028".parse().expect("a number");
        let cost = Money::from_decimal(price).expect("small");
        assert_eq!((cost.units(), cost.picos()), (0, 2_800_000_000));
        assert_eq!(cost.to_string(), "0.0028");
        assert_eq!((cost + Money::new(1, 497_200_000_000)).to_string(), "1.50");
        assert_eq!(Money::new(2800, 0).to_string(), "2800.00");
        assert_eq!(cost.less(Money::new(1, 0)), Money::ZERO);
        assert_eq!(Money::new(0, 1).to_string(), "0.000000000001");
        assert_eq!([cost, cost].into_iter().sum::<Money>(), cost + cost);
    }
}
