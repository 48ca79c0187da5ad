//! A failover told line by line, in the simulator: three hosts share an
//! address, a client uses it, the master loses its power, and comes back.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use vipd::carp::Interval;

use super::checker::time;
use super::faults::Fault;
use super::setup::{MILLISECOND, Nanos, SECOND, Setup};
use super::world::World;

/// Tells it at a speed that can be read: twice as fast as it happens.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    tell(out, Some(2))
}

/// Tells it so many times faster than it happens, or at once.
pub fn tell(out: &mut dyn Write, faster: Option<u32>) -> io::Result<()> {
    let ranks = [0, 50, 100].map(|advskew| Interval::new(1, advskew));
    let mut setup = Setup::simple(1, &ranks, true);
    setup.ask_every = 2 * MILLISECOND;
    let vip = setup.groups[0].vips[0];
    let mut story = Story {
        world: World::new(setup, false),
        out,
        faster,
        vip: vip.octets(),
        owner: None,
    };
    writeln!(
        story.out,
        "Three hosts (advskew 0, 50, 100) share {vip}; a client sends to it every"
    )?;
    writeln!(
        story.out,
        "2 ms or so, and learns from announcements only. The time is simulated.\n"
    )?;
    writeln!(
        story.out,
        "{:>10}  {:<8}{:<22}lost",
        "time", "owner", "the client sends to"
    )?;
    story.go_on(5 * SECOND)?;

    story.say("host1 loses its power")?;
    let gone = 8 * SECOND;
    story.world.inflict(Fault::LinkDown {
        host: 0,
        lan: 0,
        lasts: gone,
    });
    story.world.inflict(Fault::Kill {
        host: 0,
        back_after: gone,
    });
    story.measure(gone - MILLISECOND)?;

    story.say("host1 has its power back, and preempts")?;
    story.measure(4 * SECOND)?;

    story.say("host1 is shut down in good order")?;
    let back_after = 5 * SECOND;
    story.world.inflict(Fault::Shutdown {
        host: 0,
        back_after,
    });
    story.measure(back_after)?;

    story.say("host1 is started again")?;
    story.measure(4 * SECOND)?;
    match &story.world.violation {
        None => Ok(()),
        Some(violation) => Err(io::Error::other(format!("{violation:?}"))),
    }
}

struct Story<'a> {
    world: World,
    out: &'a mut dyn Write,
    faster: Option<u32>,
    vip: [u8; 4],
    owner: Option<usize>,
}

impl Story<'_> {
    fn say(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "{:>10}  --- {what}", time_ms(self.world.now))
    }

    /// A line once a second, and one whenever the owner is another.
    fn go_on(&mut self, duration: Nanos) -> io::Result<()> {
        let end = self.world.now + duration;
        while self.world.now < end {
            let step = MILLISECOND.min(end - self.world.now);
            self.world.run_for(step);
            if let Some(faster) = self.faster {
                sleep(Duration::from_nanos(step) / faster);
            }
            let owner = self.world.answering(0).first().copied();
            if owner != self.owner || self.world.now % SECOND < MILLISECOND {
                self.owner = owner;
                self.line()?;
            }
        }
        Ok(())
    }

    /// And what it cost the client.
    fn measure(&mut self, duration: Nanos) -> io::Result<()> {
        let (sent, lost) = (self.world.client.pings, self.world.client.pings_lost);
        self.go_on(duration)?;
        let client = &self.world.client;
        let (sent, lost) = (client.pings - sent, client.pings_lost - lost);
        // Lost packets in a row, sent at an even pace.
        let outage = u128::from(duration) * u128::from(lost) / u128::from(sent.max(1));
        let outage_ms = outage / u128::from(MILLISECOND);
        self.say(&format!(
            "the address was gone for {outage_ms} ms: {lost} of {sent} packets lost"
        ))
    }

    fn line(&mut self) -> io::Result<()> {
        let owner = match self.owner {
            Some(owner) => format!("host{}", owner + 1),
            None => "nobody".to_owned(),
        };
        let mac = match self.world.client.entry(0, self.vip) {
            Some(mac) => mac.to_string(),
            None => "nobody yet".to_owned(),
        };
        let lost = self.world.client.pings_lost;
        writeln!(
            self.out,
            "{:>10}  {owner:<8}{mac:<22}{lost}",
            time_ms(self.world.now)
        )?;
        self.out.flush()
    }
}

/// Seconds, to the millisecond.
fn time_ms(at: Nanos) -> String {
    let text = time(at);
    text[..text.len() - 3].to_owned()
}
