//! What a command line says of mining, in every spelling: `-o URL`, `-oURL`, `--url URL`, `--url=URL`.

use crate::config::Config;
use crate::evidence::kind;
use crate::wallet;

/// Options of miners that name where to connect to, and those that others have too: they count beside an algorithm.
const POOLS: &[&str] = &["-o", "--url", "--pool", "-pool", "-pool1", "-pool2", "-epool"];
const SERVERS: &[&str] = &["--server", "-s"];
/// Options that name what is computed, and for which coin: wallets name a coin too, so it counts beside a pool.
const ALGORITHMS: &[&str] = &["-a", "--algo", "--algorithm"];
const COINS: &[&str] = &["--coin", "-coin"];
/// Options that name for whom: an address that a payment goes to stands elsewhere.
const WALLETS: &[&str] =
    &["-u", "--user", "-O", "--userpass", "-w", "--wallet", "-wallet", "-wal", "--address"];
/// Options of several letters behind one dash.
const LONG: &[&str] =
    &["-pool", "-pool1", "-pool2", "-epool", "-coin", "-wallet", "-wal", "-ewal", "-dwal", "-name"];
/// Options of a login that other programs have too: they count beside others only.
const LOGIN: &[&str] =
    &["-u", "--user", "-p", "--pass", "-O", "--userpass", "-k", "--keepalive", "--tls", "--rig-id"];
/// Options that name a wallet and that only miners have: beside the address of one.
const OWN_WALLETS: &[&str] = &["-wal", "-ewal", "-dwal"];
/// Options behind which a word stands that is looked for.
const SEARCHES: &[&str] =
    &["-e", "--regexp", "--grep", "-f", "--fixed-strings", "-name", "--pattern", "-g", "--glob"];
/// Schemes of a server whose protocol is not said.
const STREAMS: &[&str] = &["ssl://", "tls://", "tcp://"];
/// Schemes of pools' URLs, up to a `+`, a digit or the end.
const SCHEMES: &[&str] = &["stratum", "stratumss", "ethproxy", "ethstratum", "daemon"];

/// Evidence in a command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Kinds of evidence in it, bits of [`kind`].
    pub(crate) kinds: u32,
    /// Port of the server that it names.
    pub(crate) port: Option<u16>,
}

/// Reads the arguments after `argv[0]`.
pub(crate) fn read<'a>(config: &Config, arguments: impl Iterator<Item = &'a str>) -> Told {
    let mut line = Line::default();
    let mut option = "";
    let (mut is_searched, mut are_operands) = (false, false);
    for argument in arguments {
        if std::mem::take(&mut is_searched) || are_operands {
            // Who looks for a miner's words is told them too.
            line.has_wallet |= wallet::is_coin(argument) || wallet::is_monero(argument);
            option = "";
            continue;
        }
        is_searched = SEARCHES.contains(&argument);
        are_operands = argument == "--";
        // The word before is its option, unless it carries one itself.
        let (name, value) = match split(argument) {
            Some((name, value)) => (name, value),
            None => (std::mem::take(&mut option), argument),
        };
        if value.is_empty() {
            option = name;
        }
        line.word(config, argument, (name, value));
    }
    line.told()
}

/// What the words of a command line say so far.
#[derive(Default)]
struct Line {
    told: Told,
    /// Options that only miners have.
    only: u32,
    has_login: bool,
    /// Whether there is a word for a wallet that is a miner's beside other words only.
    has_wallet: bool,
    /// Whether a coin is named.
    has_coin: bool,
    /// Port of a server that may be a pool, beside an algorithm.
    server_port: Option<u16>,
}

impl Line {
    fn word(&mut self, config: &Config, argument: &str, (name, value): (&str, &str)) {
        let told = &mut self.told;
        let starts = |marker: &String| argument.starts_with(marker.as_str());
        self.only += u32::from(config.argv_markers.iter().any(starts));
        self.has_login |= LOGIN.contains(&name) && argument.starts_with('-');
        self.has_coin |= COINS.contains(&name) && is_algorithm(config, value);
        self.has_wallet |= wallet::is_coin(value);
        let url = pool_url(argument).or_else(|| pool_url(value));
        // Elsewhere it may be looked for.
        if (url.is_some() || POOLS.contains(&name))
            && config.pool_hosts.iter().any(|host| argument.contains(host.as_str()))
        {
            told.kinds |= kind::HOST;
        }
        if ALGORITHMS.contains(&name) && is_algorithm(config, value) {
            told.kinds |= kind::ALGORITHM;
        }
        match wallet::is_monero(value) {
            true if WALLETS.contains(&name) => told.kinds |= kind::WALLET,
            is_monero => self.has_wallet |= is_monero,
        }
        if OWN_WALLETS.contains(&name) && (wallet::is_coin(value) || wallet::is_monero(value)) {
            told.kinds |= kind::WALLET;
        }
        if let Some(server) = url {
            // Who listens here works for somebody, and may as well be under test.
            told.kinds |= if is_local(server) { kind::URL_LOCAL } else { kind::URL };
            told.port = told.port.or(port_of(server));
        } else if POOLS.contains(&name)
            && let Some(port) = endpoint(value)
        {
            told.kinds |= kind::ENDPOINT;
            told.port = told.port.or(Some(port));
        } else if SERVERS.contains(&name) {
            self.server_port = self.server_port.or(endpoint(value));
        }
    }

    /// What all of them say together.
    fn told(self) -> Told {
        let Self { mut told, only, has_login, has_wallet, has_coin, server_port } = self;
        told.kinds |= match only {
            0 => 0,
            1 => kind::OPTION,
            _ => kind::OPTION | kind::OPTIONS,
        };
        if has_coin && told.kinds & (kind::ENDPOINT | kind::URL | kind::URL_LOCAL) != 0 {
            told.kinds |= kind::ALGORITHM;
        }
        if server_port.is_some() && told.kinds & kind::ALGORITHM != 0 {
            told.kinds |= kind::ENDPOINT;
            told.port = told.port.or(server_port);
        }
        // Such words are in many command lines: beside a miner's they say whom it is for.
        let miners = kind::OPTION | kind::URL | kind::URL_LOCAL | kind::HOST | kind::ALGORITHM;
        if has_wallet && told.kinds & miners != 0 {
            told.kinds |= kind::COIN_WALLET;
        }
        let works = kind::URL | kind::URL_LOCAL | kind::ENDPOINT | kind::ALGORITHM;
        if has_login && told.kinds & works != 0 {
            told.kinds |= kind::LOGIN;
        }
        told
    }
}

/// An option and its value, which is empty when the next word is; `None` for a word that is no option.
fn split(argument: &str) -> Option<(&str, &str)> {
    if LONG.contains(&argument) {
        return Some((argument, ""));
    }
    if argument.starts_with("--") {
        return Some(argument.split_once('=').unwrap_or((argument, "")));
    }
    let rest = argument.strip_prefix('-')?;
    let letter = rest.chars().next()?;
    argument.split_at_checked(1 + letter.len_utf8())
}

/// What stands behind a pool's scheme: `stratum+tcp://`, `stratum2+ssl://`, `stratum://` and the like.
fn pool_url(text: &str) -> Option<&str> {
    let (scheme, server) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = scheme.find(|one: char| !one.is_ascii_alphabetic()).unwrap_or(scheme.len());
    let (name, rest) = scheme.split_at_checked(end)?;
    // `daemon+http` is a node that a miner works for; `daemon` alone is anything.
    let is_known = SCHEMES.contains(&name) && (name != "daemon" || rest.starts_with('+'));
    let is_scheme = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    // Without a server it is a word that is looked for.
    (is_known && is_scheme && !server.is_empty()).then_some(server)
}

/// Whether a server is this machine, or listens on it: `localhost`, `127.…`, `[::1]`, `0.0.0.0`, `*`. A login may stand
/// before it.
fn is_local(server: &str) -> bool {
    let server = server.split('/').next().unwrap_or(server);
    let server = server.rsplit('@').next().unwrap_or(server);
    let host = match server.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => server.split(':').next().unwrap_or(server),
    };
    let is_own = |ip: std::net::IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    };
    host.eq_ignore_ascii_case("localhost") || host == "*" || host.parse().is_ok_and(is_own)
}

fn port_of(server: &str) -> Option<u16> {
    let server = server.split('/').next().unwrap_or(server);
    server.rsplit_once(':')?.1.parse().ok()
}

/// The port of `HOST:PORT`, where the host is an address or has a dot.
fn endpoint(text: &str) -> Option<u16> {
    let text = STREAMS.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let is_host = host.contains('.') || host.starts_with('[') && host.ends_with(']');
    let is_word = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if is_host && is_word { port.parse().ok().filter(|port| *port != 0) } else { None }
}

fn is_algorithm(config: &Config, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    config.algorithms.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == *known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Told {
        read(&Config::parse(b"").unwrap(), line.split(' '))
    }

    #[test]
    fn options_are_read_in_every_spelling() {
        let of = |line: &str, kinds: u32, port: Option<u16>| {
            assert_eq!(told(line), Told { kinds, port }, "{line}");
        };
        for line in ["-o a.b:443", "-oa.b:443", "--url a.b:443", "--url=a.b:443", "-o [::1]:443"] {
            of(line, kind::ENDPOINT, Some(443));
        }
        for line in [
            "-o stratum+tcp://p:99",
            "--url=stratum2+ssl://p:99",
            "-ostratum://p:99/x",
            "stratum+tls://p:99",
            "--url=STRATUM+TCP://w.x:p@p:99",
            "--pool ethproxy+ssl://p:99",
            "-o daemon+http://p:99",
        ] {
            of(line, kind::URL, Some(99));
        }
        for line in [
            "-o stratum+tcp://127.0.0.1:99",
            "--url=stratum+tls://localhost:99/x",
            "stratum://[::1]:99",
            "-ostratum+tcp://w@127.8.8.8:99",
            "--listen stratum+tcp://0.0.0.0:99",
            "--listen stratum+tcp://[::]:99",
            "--bind stratum+tcp://*:99",
        ] {
            of(line, kind::URL_LOCAL, Some(99));
        }
        for line in ["-a rx/0", "-arx/0", "--algo=RandomX", "--algo cn/gpu", "--algorithm kawpow"] {
            of(line, kind::ALGORITHM, None);
        }
        of("-a rx/0 -k --tls", kind::ALGORITHM | kind::LOGIN, None);
        of("--donate-level 1", kind::OPTION, None);
        of("--donate-level=1 --randomx-1gb-pages", kind::OPTION | kind::OPTIONS, None);
        for word in ["4{}", "8{}.rig", "--user=4{}/mail"] {
            of(&format!("-u {}", word.replace("{}", &"A".repeat(94))), kind::WALLET, None);
        }
        let eth = format!("0x{}", "0a".repeat(20));
        of(
            &format!("-a kawpow -u {eth}.rig"),
            kind::ALGORITHM | kind::LOGIN | kind::COIN_WALLET,
            None,
        );
        of(&format!("send {eth}"), 0, None);
        of("--coin monero -o a.b:99", kind::ENDPOINT | kind::ALGORITHM, Some(99));
        of("-a rx/0 --server a.b:99", kind::ENDPOINT | kind::ALGORITHM, Some(99));
        of("-o x.supportxmr.com:99", kind::ENDPOINT | kind::HOST, Some(99));
        let closed = format!("-pool ssl://a.b:99 -wal {eth}.rig -coin etc");
        of(&closed, kind::ENDPOINT | kind::WALLET, Some(99));
        of("-wallet x -pool1 a.b:99", kind::ENDPOINT, Some(99));
    }

    #[test]
    fn other_programs_options_are_none() {
        let lines = [
            "-o main.o -a out",
            "-u root -p 22 -k host",
            "-o StrictHostKeyChecking=no host:/a",
            "--url https://example.org:443/",
            "-a 1.2.3.4:80",
            "-s 10",
            "http://stratum.example/",
            "daemon://p:1",
            "stratus://p:1",
            "-é -",
            "--coin monero --server a.b:5432 --user w",
            "--proxy 127.0.0.1:9050 transfer x",
            "-uu -F stratum+tcp:// -e supportxmr.com /etc",
            "-e --donate-level -e --randomx-mode --regexp stratum+tcp://a.b:1 /etc",
            "-r -- --donate-level --nicehash",
            "-wal /var/lib/wal -coin eth",
            "-a cn-north-1 -s api.example:8443",
            "--algorithm yescrypt --server db.example:5432 --user w",
        ];
        for line in lines {
            assert_eq!(told(line), Told::default(), "{line}");
        }
    }
}
