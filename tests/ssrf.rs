//! Tools reach the internet and what the operator lists, whatever a caller, a name or a redirect says.
//!
//! Nothing here leaves the machine: where a test needs an address that may be reached, it lists one of loopback.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use causerie::tools::http::HttpTools;

use crate::support::{
    provider::{Reply, ScriptedProvider},
    tools::{Names, error, get, text, tools},
};

/// Ways to write this machine's address that URLs know.
const LOOPBACK: [&str; 16] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.1",
    "0177.0.0.1",
    "017700000001",
    "0x7f.0.0.01",
    "127.0.0.1.",
    "127.0.0.001",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "LOOP.example",
];

fn port_of(server: &ScriptedProvider) -> u16 {
    address_of(server).port()
}

fn address_of(server: &ScriptedProvider) -> SocketAddr {
    server.base_url().trim_start_matches("http://").parse().expect("an address")
}

async fn server() -> ScriptedProvider {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::plain(200, "text/plain", "reached"));
    server
}

fn names() -> std::sync::Arc<Names> {
    Names::new(&[
        ("localhost", &["127.0.0.1 ::1"]),
        ("loop.example", &["127.0.0.1"]),
        ("six.example", &["::1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("private.example", &["10.0.0.1 192.168.1.1 172.16.0.1"]),
        ("metadata.example", &["169.254.169.254"]),
        ("any.example", &["0.0.0.0"]),
        ("unique.example", &["fd00:ec2::254"]),
        ("nothing.example", &[""]),
    ])
}

async fn assert_refused(tools: &HttpTools, url: &str) {
    let outcome = get(tools, url).await;
    let told = error(&outcome);
    assert!(told.contains("is, or leads to, an address that may not be reached unless"), "{url}: {told}");
}

#[tokio::test]
async fn every_way_to_write_loopback_is_refused_and_is_loopback() {
    let server = server().await;
    let port = port_of(&server);
    let (closed, open) = (tools(&[], names()), tools(&["127.0.0.1"], names()));
    for (row, host) in LOOPBACK.iter().enumerate() {
        let url = format!("http://{host}:{port}/");
        assert_refused(&closed, &url).await;
        assert_eq!(server.requests().len(), row, "{url}");
        // The row would be worth nothing if it meant something else.
        assert_eq!(text(&get(&open, &url).await), "reached", "{url}");
    }
}

#[tokio::test]
async fn special_addresses_are_refused_by_number() {
    let tools = tools(&[], names());
    for host in [
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::808:808]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:7f00:1::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
    ] {
        assert_refused(&tools, &format!("http://{host}/latest/meta-data/")).await;
        assert_refused(&tools, &format!("https://{host}:8443/")).await;
    }
}

#[tokio::test]
async fn names_are_judged_by_their_addresses() {
    let server = server().await;
    let port = port_of(&server);
    let names = names();
    let tools = tools(&[], names.clone());
    for host in [
        "localhost",
        "LocalHost",
        "localhost.",
        "loop.example",
        "LOOP.EXAMPLE.",
        "six.example",
        "mapped.example",
        "private.example",
        "metadata.example",
        "any.example",
        "unique.example",
    ] {
        let asked = names.asked().len();
        assert_refused(&tools, &format!("http://{host}:{port}/")).await;
        assert_eq!(names.asked().len(), asked + 1, "{host} is looked up once");
    }
    for host in ["nothing.example", "unknown.example"] {
        let outcome = get(&tools, &format!("http://{host}:{port}/")).await;
        assert_eq!(error(&outcome), format!("{host} has no address that is known here"));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_refusal_names_no_address() {
    let outcome = get(&tools(&[], names()), "http://private.example/").await;
    let told = error(&outcome);
    assert!(told.starts_with("private.example is, or leads to") && !told.contains("10.0"), "{told}");
}

#[tokio::test]
async fn users_names_and_other_schemes_are_refused() {
    let server = server().await;
    let address = address_of(&server);
    let tools = tools(&["127.0.0.1"], names());
    for url in [
        format!("http://example.com@{address}/"),
        format!("http://example.com:80@{address}/"),
        format!("http://{address}\\@example.com/"),
        format!("ftp://{address}/"),
        format!("file://{address}/"),
        format!("gopher://{address}/"),
        format!("//{address}/"),
        format!(" http://{address}/"),
        format!("http://{address}\n/"),
    ] {
        let outcome = get(&tools, &url).await;
        assert!(error(&outcome).starts_with("the tool has a url that must "), "{url}: {outcome:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_listed_port_opens_no_other() {
    let (listed, other) = (server().await, server().await);
    let port = port_of(&listed);
    for entry in [format!("127.0.0.1:{port}"), format!("127.0.0.0/8:{port}"), format!("Loop.Example.:{port}")] {
        let tools = tools(&[&entry], names());
        let of = |server: &ScriptedProvider| format!("http://loop.example:{}/", port_of(server));
        assert_eq!(text(&get(&tools, &of(&listed)).await), "reached", "{entry}");
        assert_refused(&tools, &of(&other)).await;
        assert_refused(&tools, "http://loop.example/").await;
        assert_refused(&tools, &format!("http://private.example:{port}/")).await;
    }
    // A name that is listed opens itself and not its address.
    assert_refused(&tools(&["loop.example"], names()), &listed.base_url()).await;
    assert_eq!(other.connections(), 0);
}

/// Two servers on one port: the one that may be reached, and one that may not.
async fn neighbours() -> (ScriptedProvider, TcpListener) {
    loop {
        let server = server().await;
        match TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port_of(&server))) {
            Ok(listener) => {
                listener.set_nonblocking(true).expect("a listener that does not wait");
                return (server, listener);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
    }
}

fn assert_untouched(listener: &TcpListener) {
    assert_eq!(listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn of_several_addresses_only_the_permitted_ones_are_used() {
    let (server, neighbour) = neighbours().await;
    let names = Names::new(&[("a.example", &["127.0.0.2 127.0.0.1"]), ("b.example", &["127.0.0.1 127.0.0.2"])]);
    let tools = tools(&["127.0.0.1"], names);
    for name in ["a.example", "b.example"] {
        assert_eq!(text(&get(&tools, &format!("http://{name}:{}/", port_of(&server))).await), "reached");
    }
    assert_eq!(server.connections(), 2);
    assert_untouched(&neighbour);
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let (server, neighbour) = neighbours().await;
    server.on_every(Reply::plain(200, "text/plain", "reached").header("connection", "close"));
    let names = Names::new(&[("re.example", &["127.0.0.1", "127.0.0.2"])]);
    let tools = tools(&["127.0.0.1"], names.clone());
    let url = format!("http://re.example:{}/", port_of(&server));
    // One look-up is all there is between the check and the connection.
    assert_eq!(text(&get(&tools, &url).await), "reached");
    assert_eq!(names.asked().len(), 1);
    assert_refused(&tools, &url).await;
    assert_eq!((names.asked().len(), server.connections()), (2, 1));
    assert_untouched(&neighbour);
}

#[tokio::test]
async fn a_name_that_changes_within_a_chain_of_redirects_gains_nothing() {
    let (server, neighbour) = neighbours().await;
    let again = format!("http://re.example:{}/again", port_of(&server));
    server.on_every(Reply::plain(302, "text/plain", "").header("location", &again).header("connection", "close"));
    let names = Names::new(&[("re.example", &["127.0.0.1", "127.0.0.2"])]);
    let tools = tools(&["127.0.0.1"], names.clone());
    assert_refused(&tools, &format!("http://re.example:{}/", port_of(&server))).await;
    assert_eq!((names.asked().len(), server.connections()), (2, 1));
    assert_untouched(&neighbour);
}

#[tokio::test]
async fn redirects_are_judged_like_any_address() {
    let (first, inner) = (ScriptedProvider::start().await, server().await);
    let tools = tools(&[&format!("127.0.0.1:{}", port_of(&first))], names());
    let port = port_of(&inner);
    for status in [301, 302, 303, 307, 308] {
        for to in [
            format!("http://127.0.0.1:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://LOOP.example.:{port}/"),
            format!("//127.1:{port}/"),
            format!("\\\\127.1:{port}\\"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "https://metadata.example/".to_owned(),
        ] {
            first.on_every(Reply::plain(status, "text/plain", "").header("location", &to));
            assert_refused(&tools, &first.base_url()).await;
        }
        for (to, part) in [
            ("file:///etc/passwd".to_owned(), "redirects to something that is no http"),
            ("ftp://loop.example/".to_owned(), "redirects to something that is no http"),
            ("http://".to_owned(), "redirects to something that is no http"),
            (format!("http://public@127.0.0.1:{}/", port_of(&first)), "must have no user name"),
        ] {
            first.on_every(Reply::plain(status, "text/plain", "").header("location", &to));
            let outcome = get(&tools, &first.base_url()).await;
            assert!(error(&outcome).contains(part), "{to}: {outcome:?}");
        }
    }
    assert_eq!(inner.connections(), 0);
    assert!(first.connections() > 0);
}
