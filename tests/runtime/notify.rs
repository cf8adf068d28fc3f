//! `NOTIFY_SOCKET`, of which a service manager hears that a container is ready

use std::os::unix::net::UnixDatagram;

use crate::support::TestBundle;
use crate::support::until;

#[test]
#[ignore = "needs root: mounts and cgroups"]
fn start_waits_until_the_container_is_ready_and_tells_its_pid() {
    let bundle = TestBundle::minimal().args(["sleep", "1000"]);
    let host = bundle.path("manager.sock");
    let manager = UnixDatagram::bind(&host).unwrap();
    let mut create = bundle.command(&["create", "one"]);
    create.env("NOTIFY_SOCKET", &host);
    bundle.finish_detached(create).ok();
    let start = bundle
        .command(&["start", "one"])
        .env("NOTIFY_SOCKET", &host)
        .spawn()
        .unwrap();
    let socket = bundle.state_root().join("one/notify/notify.sock");
    let service = UnixDatagram::unbound().unwrap();
    until("the socket of the container", || {
        service.send_to(b"STATUS=x\nREADY=1", &socket).ok()
    });
    let hear = || {
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1\n");
    assert_eq!(hear(), format!("MAINPID={}\n", bundle.pid()));
    assert_eq!(hear(), "BARRIER=1");
    bundle.wait(start);
}
