//! `io::netlink` and `io::sysctl` against the kernel.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use vipd::io::netlink::{self, Event, LinkInfo, Netlink};
use vipd::io::sysctl;
use vipd_tests::lab::Lab;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const SOON: Duration = Duration::from_secs(15);

/// Skips events until one is wanted.
async fn wait_for<T>(
    what: &str,
    events: &mut Receiver<Event>,
    wanted: impl Fn(&Event) -> Option<T>,
) -> T {
    let mut seen = Vec::new();
    loop {
        let Ok(event) = timeout(SOON, events.recv()).await else {
            panic!("no {what} but {seen:?}")
        };
        let event = event.expect("the netlink thread lives");
        if let Some(found) = wanted(&event) {
            return found;
        }
        seen.push(event);
    }
}

async fn wait_for_link(
    what: &str,
    events: &mut Receiver<Event>,
    wanted: impl Fn(&LinkInfo) -> bool,
) -> LinkInfo {
    wait_for(what, events, |event| match event {
        Event::Link(link) if wanted(link) => Some(link.clone()),
        Event::Link(_)
        | Event::LinkGone { .. }
        | Event::AddressAdded { .. }
        | Event::AddressRemoved { .. }
        | Event::Done { .. } => None,
    })
    .await
}

async fn wait_for_event(events: &mut Receiver<Event>, wanted: Event) {
    wait_for(&format!("{wanted:?}"), events, |event| {
        (*event == wanted).then_some(())
    })
    .await;
}

#[test]
fn lookup_tells_what_an_interface_is() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.ip(&[
        "link", "add", "eth0.5", "type", "veth", "peer", "name", "eth1",
    ]);
    n1.run_in(|| {
        let eth0 = netlink::lookup("eth0").unwrap();
        let expected = LinkInfo {
            ifindex: eth0.ifindex,
            name: "eth0".to_owned(),
            mac: Some(n1.mac()),
            up: true,
            carrier_changes: eth0.carrier_changes,
            mtu: 1500,
            kind: Some("veth".to_owned()),
            is_vlan: false,
            xdp_program: None,
            addresses: vec![(n1.address(), 24)],
        };
        assert_eq!(eth0, expected);
        assert!(!netlink::lookup("eth0.5").unwrap().up);
        assert_eq!(netlink::lookup("lo").unwrap().kind, None);
        let error = netlink::lookup("eth7").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no interface eth7; 'ip link' lists those there are"
        );
        // An interface whose name cannot be.
        netlink::lookup("a-name-that-is-far-too-long").unwrap_err();
    });
}

#[test]
fn lookup_works_within_a_runtime() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || assert_eq!(netlink::lookup("lo").unwrap().mac, Some([0; 6])));
}

#[test]
fn a_watched_interface_is_followed_through_everything() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || {
        let (netlink, mut events) = Netlink::spawn(&["eth0", "eth7"]).unwrap();
        let told = events.recv().await.unwrap();
        assert_eq!(told, Event::Link(netlink::lookup("eth0").unwrap()));
        wait_for_event(
            &mut events,
            Event::LinkGone {
                name: "eth7".to_owned(),
            },
        )
        .await;
        let Event::Link(eth0) = told else {
            panic!("{told:?}")
        };

        n1.link_down();
        wait_for_link("down", &mut events, |link| !link.up).await;
        n1.link_up();
        wait_for_link("up", &mut events, |link| link.up).await;
        let before = netlink::lookup("eth0").unwrap().carrier_changes;
        n1.carrier(false);
        wait_for_link("no carrier", &mut events, |link| !link.up).await;
        n1.carrier(true);
        let link = wait_for_link("carrier", &mut events, |link| link.up).await;
        assert_eq!(link.carrier_changes, before + 2);
        n1.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:99"]);
        let link = wait_for_link("new MAC", &mut events, |link| {
            link.mac == Some([2, 0, 0, 0, 0, 0x99])
        })
        .await;
        assert_eq!(
            (link.ifindex, link.addresses),
            (eth0.ifindex, vec![(n1.address(), 24)])
        );

        let (ifindex, address) = (eth0.ifindex, VIP);
        n1.add_address("10.99.0.100/32");
        wait_for_event(&mut events, Event::AddressAdded { ifindex, address }).await;
        n1.remove_address("10.99.0.100/32");
        wait_for_event(&mut events, Event::AddressRemoved { ifindex, address }).await;

        n1.remove_interface();
        wait_for_event(
            &mut events,
            Event::LinkGone {
                name: "eth0".to_owned(),
            },
        )
        .await;
        n1.make_interface();
        let link = wait_for_link("a new eth0", &mut events, |_| true).await;
        assert_ne!(link.ifindex, ifindex);
        let added = Event::AddressAdded {
            ifindex: link.ifindex,
            address: n1.address(),
        };
        wait_for_event(&mut events, added).await;
        wait_for_link("the new one up", &mut events, |link| link.up).await;
        netlink.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn leaving_a_bridge_is_no_deletion() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || {
        let (_netlink, mut events) = Netlink::spawn(&["eth0"]).unwrap();
        n1.ip(&["link", "add", "br7", "type", "bridge"]);
        n1.ip(&["link", "set", "eth0", "master", "br7"]);
        n1.ip(&["link", "set", "eth0", "nomaster"]);
        n1.ip(&["link", "set", "eth0", "mtu", "1400"]);
        let gone = Event::LinkGone {
            name: "eth0".to_owned(),
        };
        wait_for("the new MTU", &mut events, |event| {
            assert_ne!(*event, gone);
            matches!(event, Event::Link(link) if link.mtu == 1400).then_some(())
        })
        .await;
    });
}

#[test]
fn changes_of_addresses_are_answered_in_order_and_idempotent() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || {
        let (netlink, mut events) = Netlink::spawn(&["eth0"]).unwrap();
        let ifindex = wait_for_link("eth0", &mut events, |_| true).await.ifindex;
        netlink.add_address(1, ifindex, VIP, 32);
        netlink.add_address(2, ifindex, VIP, 32);
        netlink.add_address(3, 4711, VIP, 32);
        netlink.remove_address(4, ifindex, VIP, 32);
        netlink.remove_address(5, ifindex, VIP, 32);
        // An interface that is gone took the address with it.
        netlink.remove_address(6, 4711, VIP, 32);
        for expected in 1..=6 {
            let (token, result) = wait_for("an answer", &mut events, |event| match event {
                Event::Done { token, result } => Some((*token, result.clone())),
                Event::Link(_)
                | Event::LinkGone { .. }
                | Event::AddressAdded { .. }
                | Event::AddressRemoved { .. } => None,
            })
            .await;
            assert_eq!(token, expected);
            if token == 3 {
                let reason = result.unwrap_err();
                assert!(
                    reason
                        .starts_with("cannot add 10.99.0.100/32 to interface 4711: No such device"),
                    "{reason}"
                );
            } else {
                assert_eq!(result, Ok(()), "request {token}");
            }
        }
        assert!(!n1.addresses().contains(&VIP.into()));
    });
}

#[test]
fn shutdown_waits_for_the_changes_and_not_for_a_reader() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || {
        let (netlink, events) = Netlink::spawn(&["eth0"]).unwrap();
        let ifindex = netlink::lookup("eth0").unwrap().ifindex;
        // More answers than anybody keeps for a daemon that does not read.
        for token in 0..1000 {
            netlink.add_address(token, ifindex, VIP, 32);
        }
        netlink.add_address(1000, ifindex, Ipv4Addr::new(10, 99, 0, 101), 32);
        netlink.shutdown(SOON).await.unwrap();
        drop(events);
        assert!(
            n1.addresses()
                .contains(&Ipv4Addr::new(10, 99, 0, 101).into())
        );
    });
}

#[test]
fn lost_notifications_are_made_up_for() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.run_in_async(async || {
        // The kernel takes the least it allows, which is about one notification.
        let (_netlink, mut events) = Netlink::spawn_with_buffer(&["eth0"], 1).unwrap();
        let ifindex = wait_for_link("eth0", &mut events, |_| true).await.ifindex;
        let mut batch = String::new();
        for last in 1..=250 {
            writeln!(batch, "addr add 10.98.0.{last}/32 dev eth0").unwrap();
        }
        let file = n1.directory().join("batch");
        fs::write(&file, batch).unwrap();
        n1.ip(&["-batch", file.to_str().unwrap()]);

        let mut missing: Vec<Ipv4Addr> = (1..=250)
            .map(|last| Ipv4Addr::new(10, 98, 0, last))
            .collect();
        while !missing.is_empty() {
            let added = wait_for("an added address", &mut events, |event| match event {
                Event::AddressAdded {
                    ifindex: at,
                    address,
                } if *at == ifindex => Some(*address),
                Event::Link(_)
                | Event::LinkGone { .. }
                | Event::AddressAdded { .. }
                | Event::AddressRemoved { .. }
                | Event::Done { .. } => None,
            })
            .await;
            missing.retain(|address| *address != added);
        }
    });
}

#[test]
fn a_setting_is_set_and_restored_on_an_interface_with_a_dot() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    n1.ip(&[
        "link", "add", "eth0.5", "type", "veth", "peer", "name", "eth1",
    ]);
    n1.run_in(|| {
        assert_eq!(sysctl::set("eth0.5", "arp_ignore", "1").unwrap(), "0");
        assert_eq!(sysctl::set("eth0.5", "arp_ignore", "1").unwrap(), "1");
        sysctl::restore("eth0.5", "arp_ignore", "0").unwrap();
        assert_eq!(sysctl::set("eth0.5", "arp_ignore", "0").unwrap(), "0");
    });
}
