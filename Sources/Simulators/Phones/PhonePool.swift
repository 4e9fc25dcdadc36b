public import DeviceKit
import Wire

/// Enrols phones through a backend's and a device's API and runs them.
public struct PhonePool: Sendable {
    /// How the pool's phones are made.
    public struct Profile: Sendable {
        public var provider: SimulatedProvider
        /// Bundle id or package name; on APNs the topic.
        public var appID: String
        public var behaviour: PhoneBehaviour
        public var pollInterval: Duration
        /// Somebody answers by hand, see ``SimulatedPhone/answer(_:approved:number:)``.
        public var isAttended: Bool

        public init(
            provider: SimulatedProvider = .apn, appID: String = "dev.beckon.phone",
            behaviour: PhoneBehaviour = .answers,
            pollInterval: Duration = .seconds(1), isAttended: Bool = false
        ) {
            self.provider = provider
            self.appID = appID
            self.behaviour = behaviour
            self.pollInterval = pollInterval
            self.isAttended = isAttended
        }
    }

    /// All phones' events.
    public let log = PhoneLog()
    private let backend: BackendClient
    private let devices: DeviceClient
    private let reception: any PushReception
    private let concurrency: Int

    /// - Parameters:
    ///   - backend: mints access tokens, with the account's credentials.
    ///   - devices: where devices send their requests.
    ///   - concurrency: enrolments at once, at least 1.
    public init(backend: BackendClient, devices: DeviceClient, reception: any PushReception, concurrency: Int = 16) {
        self.backend = backend
        self.devices = devices
        self.reception = reception
        self.concurrency = max(concurrency, 1)
    }

    /// Enrols one phone: push token, access token, factor, verification.
    /// - Throws: what failed first: ``BackendError``, `DeviceError`, ``SimulatorError``.
    public func enrol(
        serviceSID: String, identity: String, name: String, profile: Profile = Profile()
    ) async throws -> SimulatedPhone {
        let pushToken = PushTokens.make(profile.provider)
        try await reception.register(profile.provider, token: pushToken, appID: profile.appID)
        let install: @Sendable (Bool?) async throws -> Device = { notificationsEnabled in
            let access = try await Self.patiently {
                try await backend.createAccessToken(serviceSID: serviceSID, identity: identity, friendlyName: name)
            }
            let device = try await register(
                access,
                Enrolment(
                    serviceSID: serviceSID, identity: identity, friendlyName: name, appID: profile.appID,
                    platform: PushPlatform(rawValue: profile.provider.rawValue) ?? .none, pushToken: pushToken,
                    notificationsEnabled: notificationsEnabled))
            try await Self.patiently { try await device.verify() }
            return device
        }
        let prove: SimulatedPhone.Prove = { [backend] challenge in
            var proof = ApprovalProof()
            // The person reads the backend's page.
            if challenge.numberDigits != nil {
                proof.number = try await backend.challenge(
                    serviceSID: serviceSID, identity: identity, sid: challenge.sid
                ).number
            }
            if challenge.requiresSession {
                proof.sessionToken = try await backend.createSessionToken(
                    serviceSID: serviceSID, identity: identity, factorSID: challenge.factorSID)
            }
            return proof
        }
        return SimulatedPhone(
            name: name, device: try await install(profile.behaviour == .notificationsOff ? false : nil),
            provider: profile.provider, behaviour: profile.behaviour, reception: reception,
            pollInterval: profile.pollInterval, log: PhoneLog(parent: log), installAgain: { try await install(nil) },
            prove: prove, isAttended: profile.isAttended)
    }

    private func register(_ accessToken: String, _ enrolment: Enrolment) async throws -> Device {
        try await Self.patiently {
            try await devices.register(accessToken: accessToken, enrolment: enrolment, signer: SoftwareKey())
        }
    }

    /// Phones enrol faster than people: 60328 (so many new identities a second) and 503 are waited for, a minute at
    /// most.
    private static func patiently<Value: Sendable>(_ call: () async throws -> Value) async throws -> Value {
        for _ in 0..<60 {
            do {
                return try await call()
            } catch DeviceError.refused(let refusal) where refusal.code == 60328 || refusal.status == 503 {
            } catch let error as BackendError where error.status == 503 {
            }
            try await Task.sleep(for: .seconds(1))
        }
        return try await call()
    }

    /// Enrols one phone per identity, some at once.
    /// - Returns: in the order of `identities`.
    public func enrol(
        serviceSID: String, identities: [String], profile: @escaping @Sendable (Int) -> Profile = { _ in Profile() }
    ) async throws -> [SimulatedPhone] {
        try await withThrowingTaskGroup(of: (Int, SimulatedPhone).self) { group in
            var phones = [SimulatedPhone?](repeating: nil, count: identities.count)
            var next = 0
            func begin() {
                guard next < identities.count else { return }
                let index = next
                next += 1
                let identity = identities[index]
                group.addTask {
                    let phone = try await enrol(
                        serviceSID: serviceSID, identity: identity, name: "phone-\(index + 1)", profile: profile(index))
                    return (index, phone)
                }
            }
            for _ in 0..<concurrency { begin() }
            while let (index, phone) = try await group.next() {
                phones[index] = phone
                begin()
            }
            return phones.compactMap { $0 }
        }
    }

    /// Runs phones until the task is cancelled.
    public func run(_ phones: [SimulatedPhone]) async {
        await withDiscardingTaskGroup { group in
            for phone in phones { group.addTask { await phone.run() } }
        }
    }
}

/// Push tokens in the providers' forms.
public enum PushTokens {
    public static func make(_ provider: SimulatedProvider) -> String {
        switch provider {
        case .apn: return Hexadecimal.random(digits: 64)
        case .fcm: return random(22) + ":APA91b" + random(134)
        case .hms: return "IQAAAACy0" + random(121)
        }
    }

    private static func random(_ count: Int) -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        return String(decoding: (0..<count).map { _ in letters[Int.random(in: 0..<letters.count)] }, as: UTF8.self)
    }
}
