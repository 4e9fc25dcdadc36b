import Wire

/// The provider that delivers a device's pushes.
public enum PushPlatform: String, Sendable, Codable, Hashable {
    /// APNs.
    case apn
    /// FCM.
    case fcm
    /// HMS Push Kit.
    case hms
    /// No pushes: the app polls.
    case none
}

/// The values that a device sends when it enrols.
public struct Enrolment: Sendable {
    /// `VA…`, from the app's backend, together with the access token.
    public var serviceSID: String
    /// 8 to 64 letters, digits and dashes, from the app's backend.
    public var identity: String
    /// Shown to the person in lists of devices; at most 64 characters.
    public var friendlyName: String
    /// Bundle id or package name; on APNs also the topic. At most 100 characters.
    public var appID: String
    /// The provider that delivers this device's pushes.
    public var platform: PushPlatform
    /// APNs: the device token in hexadecimal; FCM: the registration token; HMS: the push token. Nil with platform
    /// `none`.
    public var pushToken: String?
    /// Free text for the backend, at most 1024 characters as JSON.
    public var metadata: [String: String]
    /// Whether the person allows the app to show notifications; nil: not sent (servers other than Beckon do not know
    /// this value).
    public var notificationsEnabled: Bool?

    /// The parameters are the properties of the same names.
    public init(
        serviceSID: String, identity: String, friendlyName: String, appID: String, platform: PushPlatform,
        pushToken: String?, metadata: [String: String] = [:], notificationsEnabled: Bool? = nil
    ) {
        self.serviceSID = serviceSID
        self.identity = identity
        self.friendlyName = friendlyName
        self.appID = appID
        self.platform = platform
        self.pushToken = pushToken
        self.metadata = metadata
        self.notificationsEnabled = notificationsEnabled
    }

    /// The form of the create call, in the order in which the published iOS SDK sends it.
    func form(publicKeyDER: [UInt8], sdkVersion: String) -> [(name: String, value: String)] {
        var form: [(name: String, value: String)] = [
            ("FriendlyName", friendlyName), ("FactorType", "push"), ("Binding.Alg", "ES256"),
            ("Binding.PublicKey", Base64.encode(publicKeyDER)), ("Config.SdkVersion", sdkVersion),
        ]
        // A device without a push token polls.
        if let pushToken, platform != .none {
            form.append(("Config.NotificationToken", pushToken))
            form.append(("Config.NotificationPlatform", platform.rawValue))
        } else {
            form.append(("Config.NotificationPlatform", PushPlatform.none.rawValue))
        }
        form.append(("Config.AppId", appID))
        if !metadata.isEmpty {
            let members = metadata.sorted { $0.key < $1.key }.map { (name: $0.key, value: JSONValue.string($0.value)) }
            form.append(("Metadata", JSONValue.object(members).text))
        }
        if let notificationsEnabled { form.append(("Config.NotificationsEnabled", "\(notificationsEnabled)")) }
        return form
    }
}

/// The values of a registration that an app stores. The private key is not included: the app stores it separately
/// (``DeviceSigner``).
public struct DeviceRegistration: Sendable, Codable, Hashable {
    /// `YF…`: this device's factor.
    public var factorSID: String
    /// `AC…`: the account, named in this device's tokens.
    public var accountSID: String
    /// `VA…`: the service that the device is registered with.
    public var serviceSID: String
    /// The backend's name for the person.
    public var identity: String
    /// `config.credential_sid`, the `kid` of this device's tokens.
    public var keyID: String
    /// The name that the person sees in lists of devices.
    public var friendlyName: String
    /// Bundle id or package name.
    public var appID: String
    /// The provider that delivers this device's pushes; `none`: the app polls.
    public var platform: PushPlatform
    /// The token that was sent last; nil with platform `none`.
    public var pushToken: String?
    /// True after ``Device/verify()`` has succeeded.
    public var isVerified: Bool

    /// For apps that store the values in a form of their own. The parameters are the properties of the same names.
    public init(
        factorSID: String, accountSID: String, serviceSID: String, identity: String, keyID: String,
        friendlyName: String, appID: String, platform: PushPlatform, pushToken: String?, isVerified: Bool
    ) {
        self.factorSID = factorSID
        self.accountSID = accountSID
        self.serviceSID = serviceSID
        self.identity = identity
        self.keyID = keyID
        self.friendlyName = friendlyName
        self.appID = appID
        self.platform = platform
        self.pushToken = pushToken
        self.isVerified = isVerified
    }
}
