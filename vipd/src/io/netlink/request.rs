//! Performs the changes asked for, one after the other.

use std::net::Ipv4Addr;

use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::{AddressMessageBuilder, Error, Handle};
use tokio::sync::mpsc;

use super::{Event, Outlet, wire};

pub(super) struct Request {
    pub(super) token: u64,
    pub(super) change: Change,
    pub(super) ifindex: u32,
    pub(super) address: Ipv4Addr,
    pub(super) prefix_len: u8,
}

#[derive(Clone, Copy)]
pub(super) enum Change {
    Add,
    Remove,
}

/// Returns when nobody can ask any more and all is done.
pub(super) async fn perform(mut requests: mpsc::UnboundedReceiver<Request>, mut outlet: Outlet) {
    let mut handle = None;
    while let Some(request) = requests.recv().await {
        let result = execute(&mut handle, &request).await;
        outlet
            .send(Event::Done {
                token: request.token,
                result,
            })
            .await;
    }
}

async fn execute(kept: &mut Option<Handle>, request: &Request) -> Result<(), String> {
    let mut result = Err(Error::RequestFailed);
    // Twice, as only the use of a kept socket shows that it broke.
    for _ in 0..2 {
        let handle = match kept {
            Some(handle) => handle,
            None => {
                let (connection, handle, _) = rtnetlink::new_connection()
                    .map_err(|e| format!("cannot open a netlink socket: {e}"))?;
                tokio::spawn(connection);
                kept.insert(handle)
            }
        };
        result = apply(handle, request).await;
        if !matches!(result, Err(Error::RequestFailed)) {
            break;
        }
        *kept = None;
    }

    let Request {
        change,
        ifindex,
        address,
        prefix_len,
        ..
    } = *request;
    match (result, change) {
        (Ok(()), _) => Ok(()),
        (Err(e), Change::Add) if wire::errno(&e) == Some(libc::EEXIST) => Ok(()),
        (Err(e), Change::Remove)
            if matches!(
                wire::errno(&e),
                // An interface that is gone took the address with it.
                Some(libc::EADDRNOTAVAIL | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        (Err(e), Change::Add) => Err(format!(
            "cannot add {address}/{prefix_len} to interface {ifindex}: {}",
            wire::reason(&e)
        )),
        (Err(e), Change::Remove) => Err(format!(
            "cannot remove {address}/{prefix_len} from interface {ifindex}: {}",
            wire::reason(&e)
        )),
    }
}

async fn apply(handle: &Handle, request: &Request) -> Result<(), Error> {
    let Request {
        change,
        ifindex,
        address,
        prefix_len,
        ..
    } = *request;
    match change {
        Change::Add => {
            handle
                .address()
                .add(ifindex, address.into(), prefix_len)
                .execute()
                .await
        }
        Change::Remove => {
            handle
                .address()
                .del(message(ifindex, address, prefix_len))
                .execute()
                .await
        }
    }
}

fn message(ifindex: u32, address: Ipv4Addr, prefix_len: u8) -> AddressMessage {
    AddressMessageBuilder::<Ipv4Addr>::new()
        .index(ifindex)
        .address(address, prefix_len)
        .build()
}
