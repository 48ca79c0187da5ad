//! A client's bytes to the server and an answer's to the client, without a
//! socket, for the fuzz targets.

use std::path::Path;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::{Access, ClientError, Peer, client, server};

/// The server, for one client after another.
pub struct Server(Runtime);

impl Server {
    pub fn new() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().map(Self)
    }

    /// What a client receives that sends these bytes and leaves. The daemon
    /// refuses every call by its method and its parameters. Root may change things,
    /// others may not.
    pub fn answers(&self, bytes: &[u8], uid: u32) -> Vec<u8> {
        let mut answers = Vec::new();
        let (requests, mut requests_rx) = mpsc::channel::<super::Request>(server::CLIENTS);
        let (_access, access_rx) = watch::channel(Access::own());
        let peer = Peer {
            uid,
            gids: Vec::new(),
            pid: 1,
        };
        self.0.block_on(async {
            let daemon = async {
                while let Some(request) = requests_rx.recv().await {
                    // The client may have been given up meanwhile.
                    let _ = request
                        .reply
                        .send(Err((request.method, request.parameters)));
                }
            };
            let client = async {
                let service = server::Service::new(requests, access_rx);
                // Nobody else is there who could fail.
                let _ = server::attend(bytes, &mut answers, &peer, &service).await;
            };
            tokio::join!(client, daemon);
        });
        answers
    }
}

/// What the client makes of an answer.
pub fn decode(answer: &[u8]) -> Result<Value, ClientError> {
    client::decode(Path::new("vipd.sock"), answer)
}
