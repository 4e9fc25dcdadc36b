import PushGateway
import Testing

@testable import ServiceSupport

@Suite("Defaults of the dispatcher's settings")
struct DefaultsTests {
    @Test("the gateway's bounds are the settings' defaults")
    func gateway() {
        let gateway = PushGatewayConfiguration()
        #expect(Settings.pushDeadline.defaultValue == gateway.deadline)
        #expect(Settings.pushMaxInFlight.defaultValue == gateway.maxInFlight)
        #expect(Settings.pushMaxConnections.defaultValue == gateway.maxConnectionsPerHost)
        #expect(Settings.pushThreads.defaultValue == gateway.eventLoopThreads)
    }
}
