import ChallengeModel
import Foundation
import Synchronization

/// The text form in which a row stores a policy.
extension ServicePolicy {
    /// JSON text; nil for the defaults, so that reading them costs nothing.
    package var stored: String? {
        get throws {
            guard self != ServicePolicy() else { return nil }
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    /// - Throws: ``StoreError/failed(_:)``: a policy that cannot be read must not count as a policy without
    ///   requirements.
    package init(stored: String?) throws {
        guard let stored else {
            self.init()
            return
        }
        self = try Self.known.value(of: stored)
    }

    private static let known = KnownPolicies()

    /// A cache of policies, because every challenge reads the policy of its service.
    private final class KnownPolicies: Sendable {
        /// Maximum number of cached texts. When it is exceeded, the cache is emptied.
        private static let most = 256
        private let policies = Mutex<[String: ServicePolicy]>([:])

        func value(of text: String) throws -> ServicePolicy {
            if let known = policies.withLock({ $0[text] }) { return known }
            guard let read = try? JSONDecoder().decode(ServicePolicy.self, from: Data(text.utf8)) else {
                throw StoreError.failed("a service's policy cannot be read")
            }
            policies.withLock {
                if $0.count >= Self.most { $0.removeAll() }
                $0[text] = read
            }
            return read
        }
    }

    /// Completes the settings of a challenge with those of the service, then with Beckon's defaults.
    func redelivery(over asked: Redelivery) -> Redelivery {
        var completed = asked
        completed.requested = asked.hasSettings || setsRedelivery
        if completed.maxAttempts == 0 { completed.maxAttempts = UInt32(maxAttempts ?? 0) }
        if completed.expectedLatencyMs == 0, !completed.adaptive {
            completed.expectedLatencyMs = UInt32(expectedLatencyMs ?? 0)
            completed.adaptive = isLatencyAdaptive
        }
        if completed.confirm == .unspecified, confirmsByAny { completed.confirm = .any }
        return StorePolicy.completed(completed)
    }

    private var setsRedelivery: Bool {
        maxAttempts != nil || expectedLatencyMs != nil || isLatencyAdaptive || confirmsByAny
    }
}

extension Redelivery {
    fileprivate var hasSettings: Bool {
        maxAttempts != 0 || expectedLatencyMs != 0 || adaptive || confirm != .unspecified
    }
}
