// Draws the OpenAPI document that the page names. Asks its own origin only.
const page = document.getElementById('docs');

SwaggerUIBundle({
  domNode: page,
  url: page.dataset.openapi,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null, // else documents that are not on localhost are sent to another host to be checked
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
