//! Words that are shaped as a wallet's address, whatever stands around them: `WALLET.rig`, `WALLET/mail`, `WALLET:x`.

/// Length of a Monero address, plain and integrated; it starts with 4 or 8.
const MONERO: [usize; 2] = [95, 106];
/// Lengths of a Bitcoin address in base 58, and after `bc1`.
const BITCOIN: std::ops::RangeInclusive<usize> = 33..=34;
const BECH32: std::ops::RangeInclusive<usize> = 39..=59;
/// Hexadecimal digits of an Ethereum address.
const ETHEREUM: usize = 40;

/// Whether a word is for a Monero wallet: hardly anything else is so long in that alphabet.
pub(crate) fn is_monero(word: &str) -> bool {
    let own = first(word);
    MONERO.contains(&own.len()) && own.starts_with(['4', '8']) && own.bytes().all(is_base58)
}

/// Whether a word may be for a wallet of another coin. So may be others: it counts beside a miner's words only.
pub(crate) fn is_coin(word: &str) -> bool {
    let own = first(word);
    if let Some(digits) = own.strip_prefix("0x") {
        return digits.len() == ETHEREUM && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    if let Some(rest) = own.strip_prefix("bc1") {
        let is_bech32 = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        return BECH32.contains(&rest.len()) && rest.bytes().all(is_bech32);
    }
    let is_both = own.bytes().any(|byte| byte.is_ascii_lowercase())
        && own.bytes().any(|byte| byte.is_ascii_uppercase());
    BITCOIN.contains(&own.len())
        && own.starts_with(['1', '3'])
        && is_both
        && own.bytes().all(is_base58)
}

fn first(word: &str) -> &str {
    word.split(['.', '/', ':', '+', '@', '%']).next().unwrap_or(word)
}

/// Digits and letters but for 0, O, I and l.
const fn is_base58(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_by_their_shape() {
        let monero = format!("4{}", "z".repeat(94));
        assert!(is_monero(&monero) && is_monero(&format!("{monero}.rig01")));
        assert!(is_monero(&format!("8{}", "9".repeat(105))));
        for wrong in [&monero[1..], &format!("5{}", &monero[1..]), &monero.replace('z', "0")] {
            assert!(!is_monero(wrong), "{wrong}");
        }
        for coin in [
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq.rig",
            "0x52908400098527886E0F7030069857D2E4169EE7",
        ] {
            assert!(is_coin(coin), "{coin}");
        }
        let digest = "3f79bb7b435b05321651daefd374cdc681dc06fa65e374e38337b88ca046dea1";
        for other in [digest, "0x1234", "/usr/bin/x", "", "13333333333333333333333333333333333"] {
            assert!(!is_coin(other), "{other}");
        }
    }
}
