//! Amounts as a person reads them.

use crate::proto::Money;

/// Dollars with as many decimals as it takes, at least two: `$0.0028`, `$1.50`. Other currencies follow their amount.
pub(super) fn shown(money: &Money) -> String {
    let amount = plain(money);
    match money.currency_code.as_str() {
        "" | "USD" => format!("${amount}"),
        other => format!("{amount} {other}"),
    }
}

/// The same without its currency, for programs.
pub(super) fn plain(money: &Money) -> String {
    let Money { currency_code: _, units, nanos, picos } = money;
    let decimals = format!("{:09}{:03}", nanos.unsigned_abs(), picos.unsigned_abs());
    let kept = decimals.trim_end_matches('0').len().max(2);
    format!("{units}.{}", decimals.get(..kept).unwrap_or(&decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_short() {
        for (units, nanos, picos, expected) in [
            (0, 2_800_000, 0, "$0.0028"),
            (1, 500_000_000, 0, "$1.50"),
            (0, 0, 1, "$0.000000000001"),
            (12, 0, 0, "$12.00"),
            // No service sends this, and no client may panic of it.
            (0, i32::MIN, i32::MIN, "$0.21474836482147483648"),
        ] {
            assert_eq!(shown(&Money { currency_code: "USD".into(), units, nanos, picos }), expected);
        }
        let yen = Money { currency_code: "JPY".into(), units: 3, ..Money::default() };
        assert_eq!(shown(&yen), "3.00 JPY");
    }
}
