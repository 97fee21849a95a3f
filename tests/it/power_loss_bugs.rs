//! Losses of power that the engine did not survive once.

use rewake::machine::StateMachine as _;
use rewake::store::DataDir;
use rewake_simdisk::{Crash, Disk, Image, Plan, Settings};

use crate::faulty::Faulty;
use crate::simulated::Simulated;

#[test]
fn a_new_node_survives_although_the_directories_above_it_are_new() {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = |disk: &Disk| DataDir::on(&Simulated, disk.path().join("a/b/node"));
    let machine = Faulty::default().version();
    dir(&disk).create(&machine).expect("a new node");
    let mut crash = Crash::new(Image::default());
    disk.trace().iter().for_each(|op| crash.advance(op));
    let left = crash.image(&Plan::none(crash.pending().len()));
    let disk = Disk::new(left, Settings::default());
    dir(&disk).open().expect("it was made durable");
}
