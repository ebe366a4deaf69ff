//! The operator's configuration: TOML, unknown keys refused.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

/// Most ports and networks of pools: each connection is compared with all.
const POOLS_MAX: usize = 64;

/// What counts as evidence and what follows from it; `config.toml` documents each key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) names: Vec<String>,
    pub(crate) argv_markers: Vec<String>,
    pub(crate) algorithms: Vec<String>,
    pub(crate) pool_hosts: Vec<String>,
    pub(crate) pool_ports: Vec<u16>,
    pub(crate) pool_networks: Vec<Network>,
    pub(crate) world_writable: Vec<String>,
    pub(crate) protected: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) pool_rules: bool,
    pub(crate) work_seconds: u32,
    pub(crate) work_cores: f64,
    pub(crate) hints_max: u32,
    pub(crate) threshold: u32,
    pub(crate) ttl_minutes: u32,
}

/// What a detection leads to beside an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Rules that refuse.
    Refuse,
    /// An alert, and no rule.
    Learn,
}

/// An address prefix, written `ADDRESS/BITS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Config {
    /// Reads a configuration; empty bytes are the defaults.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = match bytes {
            [] => include_str!("../config.toml"),
            bytes => std::str::from_utf8(bytes).map_err(|error| error.to_string())?,
        };
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        if config.pool_ports.len() + config.pool_networks.len() > POOLS_MAX {
            return Err(format!("pool_ports and pool_networks: at most {POOLS_MAX} together"));
        }
        if config.threshold == 0 || config.ttl_minutes == 0 {
            return Err("threshold and ttl_minutes must be above 0".into());
        }
        if config.work_seconds == 1 || config.work_seconds > 3600 {
            return Err("work_seconds must be 0, or 2 to 3600".into());
        }
        if !(0.1..=1024.0).contains(&config.work_cores) {
            return Err("work_cores must be 0.1 to 1024".into());
        }
        if config.threshold <= config.hints_max {
            return Err(
                "threshold must be above hints_max: hints prove nothing by themselves".into()
            );
        }
        Ok(config)
    }

    /// How long a detected tree is denied.
    pub(crate) const fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_minutes as u64 * 60)
    }

    /// Whether an executable belongs to the system and must never be denied.
    pub(crate) fn protects(&self, exe: &str) -> bool {
        exe.is_empty() || self.protected.iter().any(|place| exe.starts_with(place.as_str()))
    }
}

impl Network {
    /// Whether an address lies in the network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let shift = |width: u32| width.saturating_sub(u32::from(self.prefix));
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS/BITS");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > widest { Err(wrong()) } else { Ok(Network { address, prefix }) }
    }
}
