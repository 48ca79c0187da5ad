//! `io::packet_socket` against the kernel and ucarp.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::timeout;
use vipd::carp::packet::Source;
use vipd::carp::{Advertisement, Interval, Vhid};
use vipd::io::netlink;
use vipd::io::packet_socket::{AdvertSocket, Error, FrameSocket};
use vipd_tests::lab::{Lab, Prober, Ucarp, UcarpOptions, wait_until};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);
const SOON: Duration = Duration::from_secs(15);

fn open(vhids: &[u8]) -> AdvertSocket {
    let eth0 = netlink::lookup("eth0").expect("a host has eth0");
    AdvertSocket::open("eth0", eth0.ifindex, vhids).expect("a raw socket opens")
}

/// Receives one advertisement; returns who sent it, and its vhid.
async fn receive(socket: &AdvertSocket) -> (Ipv4Addr, u8) {
    let mut buffer = [0; 2048];
    let length = timeout(SOON, socket.recv(&mut buffer))
        .await
        .expect("an advertisement comes")
        .expect("it can be received");
    assert_eq!(length, 56, "a header of 20 bytes and CARP's 36");
    assert_eq!((buffer[0], buffer[9]), (0x45, 112));
    let [a, b, c, d] = [buffer[12], buffer[13], buffer[14], buffer[15]];
    (Ipv4Addr::new(a, b, c, d), buffer[21])
}

#[test]
fn adverts_of_the_own_vhids_arrive_and_no_others() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    let n3 = lab.host("n3", "10.99.0.3/24");
    let ten = UcarpOptions {
        vhid: 10,
        ..UcarpOptions::new(VIP)
    };
    let eleven = UcarpOptions {
        vhid: 11,
        ..UcarpOptions::new(Ipv4Addr::new(10, 99, 0, 101))
    };
    let _ten = Ucarp::spawn(&n1, &ten);
    let _eleven = Ucarp::spawn(&n2, &eleven);
    let (from_ten, from_eleven) = ((n1.address(), 10), (n2.address(), 11));

    n3.run_in_async(async || {
        let all = open(&[]);
        let mut seen = [receive(&all).await, receive(&all).await];
        while seen[0] == seen[1] {
            seen[1] = receive(&all).await;
        }
        seen.sort_unstable();
        assert_eq!(seen, [from_ten, from_eleven]);

        // Each sends once a second: of three, one at least would be wrong.
        let socket = open(&[10, 200]);
        for _ in 0..3 {
            assert_eq!(receive(&socket).await, from_ten);
        }
        // By what the first socket has heard meanwhile, the other was there.
        let mut drained = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = all.try_recv(&mut buffer) {
            assert_eq!(length, 56);
            drained.push(buffer[21]);
        }
        assert!(
            drained.contains(&10) && drained.contains(&11),
            "{drained:?}"
        );
        assert_eq!(
            all.try_recv(&mut buffer).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );

        socket.set_vhids(&[11]).unwrap();
        while socket.try_recv(&mut buffer).is_ok() {}
        for _ in 0..2 {
            assert_eq!(receive(&socket).await, from_eleven);
        }

        // The membership outlives a link that was down.
        n3.link_down();
        n3.link_up();
        n3.wait_for_carrier();
        while socket.try_recv(&mut buffer).is_ok() {}
        assert_eq!(receive(&socket).await, from_eleven);
    });
}

#[test]
fn what_a_full_socket_loses_is_counted() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    let advert = Advertisement {
        vhid: Vhid::new(10).unwrap(),
        interval: Interval::new(1, 0),
        demote: 0,
        hidden_advskew: 0,
        counter: 0,
        digest: [0; 20],
        is_vipd: false,
    };
    let source = Source {
        mac: n1.mac(),
        address: n1.address(),
    };
    let frame = advert.emit_frame(source, 0);
    let sender = n1.run_in(|| {
        let eth0 = netlink::lookup("eth0").unwrap();
        FrameSocket::open("eth0", eth0.ifindex).unwrap()
    });
    n2.run_in_async(async || {
        let socket = open(&[10]);
        assert_eq!(socket.lost(), 0);
        // Some at a time, as the queues on the way hold a thousand.
        wait_until("the buffer is full", SOON, || {
            for _ in 0..100 {
                sender.send(&frame).unwrap();
            }
            (socket.lost() > 100).then_some(())
        });
        let mut held = 0;
        while socket.try_recv(&mut [0; 2048]).is_ok() {
            held += 1;
        }
        // More than come to a host in any stall that its group survives.
        assert!(held > 1000, "it held {held}");
        let lost = socket.lost();
        sender.send(&frame).unwrap();
        assert_eq!(receive(&socket).await, (n1.address(), 10));
        assert_eq!(socket.lost(), lost, "there was room");
    });
}

#[test]
fn an_advert_socket_hears_its_own_interface_only() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let n2 = lab.host("n2", "10.99.0.2/24");
    n2.ip(&[
        "link", "add", "eth1", "type", "veth", "peer", "name", "eth2",
    ]);
    n2.ip(&["link", "set", "eth1", "up"]);
    let _ucarp = Ucarp::spawn(&n1, &UcarpOptions::new(VIP));
    n2.run_in_async(async || {
        let eth1 = netlink::lookup("eth1").unwrap();
        let other = AdvertSocket::open("eth1", eth1.ifindex, &[]).unwrap();
        let own = open(&[]);
        receive(&own).await;
        receive(&own).await;
        assert_eq!(
            other.try_recv(&mut [0; 100]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn a_frame_arrives_and_a_link_that_cannot_send_is_told() {
    let lab = Lab::new();
    let n1 = lab.host("n1", "10.99.0.1/24");
    let client = lab.host("client", "10.99.0.200/24");
    let prober = Prober::start(&client, VIP, 1);
    let announcement = |mac: [u8; 6]| {
        let mut frame = [0; 60];
        frame[0..6].fill(0xff);
        frame[6..12].copy_from_slice(&mac);
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame[22..28].copy_from_slice(&mac);
        frame[28..32].copy_from_slice(&VIP.octets());
        frame[38..42].copy_from_slice(&VIP.octets());
        frame
    };
    let seen = |mac| {
        prober
            .so_far()
            .announcements
            .iter()
            .any(|announcement| announcement.mac == mac)
    };

    let ifindex = n1.run_in(|| netlink::lookup("eth0").unwrap().ifindex);
    let socket = n1.run_in(|| FrameSocket::open("eth0", ifindex).unwrap());
    socket.send(&announcement([2, 0, 0, 0, 1, 1])).unwrap();
    wait_until("the frame", SOON, || seen([2, 0, 0, 0, 1, 1]).then_some(()));

    n1.link_down();
    let error = socket.send(&announcement([2, 0, 0, 0, 1, 2])).unwrap_err();
    assert!(matches!(error, Error::LinkDown { .. }), "{error:?}");
    n1.link_up();
    n1.wait_for_carrier();
    // The first after the pause, with no error kept from it.
    socket.send(&announcement([2, 0, 0, 0, 1, 3])).unwrap();
    wait_until("the frame", SOON, || seen([2, 0, 0, 0, 1, 3]).then_some(()));
    assert!(!seen([2, 0, 0, 0, 1, 2]));

    let error = socket.send(&[0; 4000]).unwrap_err();
    assert!(
        matches!(error, Error::Send { length: 4000, .. }),
        "{error:?}"
    );

    n1.remove_interface();
    let error = socket.send(&announcement([2, 0, 0, 0, 1, 4])).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
    let error = n1.run_in(|| FrameSocket::open("eth0", ifindex).unwrap_err());
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
}
