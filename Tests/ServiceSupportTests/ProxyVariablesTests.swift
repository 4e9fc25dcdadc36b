import ServiceSupport
import Testing

@Suite("Proxy variables of the environment")
struct ProxyVariablesTests {
    @Test("one that is set is named as ignored, never with its value")
    func named() {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"] {
            let environment = [name: "http://me:hidden@proxy:3128"]
            let notice = ProxyVariables.notice(role: .dispatcher, isProxySet: false, environment: environment)
            #expect(
                notice
                    == "\(name) is set and ignored: providers are reached directly; set providers.proxy to go through a proxy"
            )
            #expect(ProxyVariables.notice(role: .phone, isProxySet: false, environment: environment) != nil)
        }
    }

    @Test("nothing is said where it makes no difference")
    func unsaid() {
        let environment = ["HTTPS_PROXY": "http://proxy:3128"]
        #expect(ProxyVariables.notice(role: .dispatcher, isProxySet: true, environment: environment) == nil)
        #expect(ProxyVariables.notice(role: .ackTracker, isProxySet: false, environment: environment) == nil)
        #expect(ProxyVariables.notice(role: .dispatcher, isProxySet: false, environment: ["HTTPS_PROXY": ""]) == nil)
        #expect(ProxyVariables.notice(role: .dispatcher, isProxySet: false, environment: [:]) == nil)
    }
}
