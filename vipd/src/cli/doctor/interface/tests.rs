//! What is said of an interface for each thing that can be seen.

use super::super::Level;
use super::super::tests::group;
use super::*;

fn eth0() -> LinkInfo {
    LinkInfo {
        ifindex: 2,
        name: "eth0".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        up: true,
        carrier_changes: 1,
        mtu: 1500,
        kind: None,
        is_vlan: false,
        xdp_program: None,
        addresses: vec![(Ipv4Addr::new(10, 99, 0, 2), 24)],
    }
}

fn facts(link: &LinkInfo) -> Facts<'_> {
    Facts {
        link,
        pinned_program: None,
        sysctls: BTreeMap::from([("rp_filter", 1), ("arp_ignore", 0)]),
        igmp: String::new(),
        vlans: String::new(),
        strips_vlan_tags: Some(false),
    }
}

#[test]
fn who_holds_the_xdp_hook_is_told_apart() {
    for (there, ours, is_served, level, words) in [
        (Some(7), Some(7), true, Level::Ok, "attached (program 7)"),
        (Some(7), Some(7), false, Level::Warn, "without a daemon"),
        (Some(7), Some(8), true, Level::Fail, "another XDP program"),
        (Some(7), None, false, Level::Fail, "another XDP program"),
        (None, Some(8), true, Level::Fail, "nobody answers"),
        (None, None, false, Level::Ok, "no XDP program"),
    ] {
        let link = LinkInfo {
            xdp_program: there,
            ..eth0()
        };
        let facts = Facts {
            pinned_program: ours,
            ..facts(&link)
        };
        let finding = program(&facts, is_served);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.text.contains(words), "{finding:?}");
    }
}

#[test]
fn a_link_is_up_ethernet_untagged_and_has_an_address() {
    let of = |change: fn(&mut LinkInfo)| {
        let mut changed = eth0();
        change(&mut changed);
        link(&changed).level
    };
    assert_eq!(of(|_| {}), Level::Ok);
    assert_eq!(of(|link| link.up = false), Level::Fail);
    assert_eq!(of(|link| link.mac = None), Level::Fail);
    assert_eq!(of(|link| link.is_vlan = true), Level::Warn);
    assert_eq!(of(|link| link.addresses.clear()), Level::Warn);
}

#[test]
fn membership_is_read_per_interface() {
    let group = u32::from_ne_bytes(CARP_GROUP.octets());
    let igmp = format!(
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
         1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
         2\teth0      :     2      V3\n\t\t\t\t{group:08X}     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
         3\teth01     :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    );
    assert!(is_member(&igmp, "eth0", CARP_GROUP));
    for other in ["lo", "eth01", "eth", "eth7"] {
        assert!(!is_member(&igmp, other, CARP_GROUP), "{other}");
    }
}

#[test]
fn settings_that_keep_adverts_or_answers_away_are_named() {
    let link = eth0();
    let near = group(|_| {});
    let far = group(|json| json["master"]["address"] = "192.0.2.1".into());
    let told = |facts: &Facts<'_>, group: &GroupStatus| {
        let findings = settings(facts, &[group]);
        let texts: Vec<String> = findings
            .iter()
            .map(|finding| finding.text.clone())
            .collect();
        texts.join("; ")
    };
    assert_eq!(told(&facts(&link), &near), "arp_ignore=0 rp_filter=1");
    assert!(told(&facts(&link), &far).contains("rp_filter is 1: adverts of 192.0.2.1"));
    let deaf = Facts {
        sysctls: BTreeMap::from([("arp_ignore", 8)]),
        ..facts(&link)
    };
    assert!(told(&deaf, &near).contains("answers no ARP"));
    let on_lo = group(|json| json["addresses"] = "loopback".into());
    assert!(told(&facts(&link), &on_lo).contains("arp_ignore is 0"));
}

#[test]
fn vlans_whose_tags_the_card_takes_off_are_warned_of() {
    let link = eth0();
    let trunk = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\neth0.7         | 7  | eth0\n";
    for (strips, config, level) in [
        (Some(true), trunk, Level::Warn),
        (Some(true), "", Level::Ok),
        (Some(false), trunk, Level::Ok),
        (None, trunk, Level::Warn),
        (None, "", Level::Ok),
    ] {
        let facts = Facts {
            vlans: config.to_owned(),
            strips_vlan_tags: strips,
            ..facts(&link)
        };
        assert_eq!(vlans(&facts).level, level, "{strips:?} {config:?}");
    }
}

#[test]
fn an_address_that_should_not_be_here_is_named() {
    let mut link = eth0();
    assert!(addresses(&link, &group(|_| {})).is_empty());
    link.addresses.push((Ipv4Addr::new(10, 99, 0, 100), 24));
    let findings = addresses(&link, &group(|_| {}));
    assert!(
        findings[0].text.contains("10.99.0.100 is on eth0"),
        "{findings:?}"
    );
    let master = group(|json| json["role"] = "master".into());
    assert!(addresses(&link, &master).is_empty());
    let link_local = group(|json| json["vips"] = vec!["169.254.1.1"].into());
    assert!(addresses(&link, &link_local)[0].text.contains("link-local"));
}
